//! Shell commands that are one program and its arguments, and nothing else: they need no shell, which is half of what a
//! small command takes.
//!
//! What this finds is what bash would start, with the same words and the same environment. Whatever might mean anything
//! else to bash is left to it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// Words that begin something else than a program: bash's reserved words and builtins (bash(1), 5.2).
const OWN: [&str; 83] = [
    "!",
    "[",
    "[[",
    "]]",
    ":",
    ".",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
    "{",
    "}",
];
/// How files begin that the kernel starts by itself; others, bash reads as scripts.
const PROGRAMS: [&[u8]; 2] = [b"\x7fELF", b"#!"];

/// The words of a command that is one program with its arguments; `None` where bash might see more in it.
pub(crate) fn words(command: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = command.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take()),
            b'\'' | b'"' => {
                // The program's own name is looked at as it is written.
                if words.is_empty() {
                    return None;
                }
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next()? {
                        end if end == byte => break,
                        b'$' | b'`' | b'\\' if byte == b'"' => return None,
                        0 => return None,
                        inner => word.push(inner),
                    }
                }
            }
            _ if is_plain(byte) => word.get_or_insert_default().push(byte),
            // Only an assignment where it comes first.
            b'=' if !words.is_empty() => word.get_or_insert_default().push(byte),
            _ => return None,
        }
    }
    words.extend(word);
    (!words.is_empty()).then(|| words.into_iter().map(OsString::from_vec).collect())
}

/// Whether it is itself in any place of a word.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:,+@%-".contains(&byte)
}

/// The path of what bash would start for these words in this environment; `None` where that takes a bash.
pub(crate) fn program(
    words: &[OsString],
    environment: &[(OsString, OsString)],
    find: impl Fn(&OsStr) -> OsString,
) -> Option<OsString> {
    let name = words.first()?;
    if OWN.iter().any(|own| name == own) || environment.iter().any(|(name, _)| is_heard(name)) {
        return None;
    }
    let path = find(name);
    let is_found = path.as_bytes().starts_with(b"/");
    (is_found && is_started_by_the_kernel(Path::new(&path))).then_some(path)
}

/// Whether bash itself does something about this variable when it begins.
fn is_heard(name: &OsStr) -> bool {
    name == "BASH_ENV"
        || name == "SHELLOPTS"
        || name == "BASHOPTS"
        || name == "POSIXLY_CORRECT"
        || name.as_bytes().starts_with(b"BASH_FUNC_")
}

fn is_started_by_the_kernel(path: &Path) -> bool {
    let mut first = Vec::with_capacity(4);
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut first));
    read.is_ok() && PROGRAMS.iter().any(|begin| first.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn split(command: &str) -> Option<Vec<String>> {
        let words = words(command.as_bytes())?;
        Some(
            words
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect(),
        )
    }

    #[test]
    fn one_program_and_its_arguments_is_found() {
        let some = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(
            split("birdcl show  route"),
            some(&["birdcl", "show", "route"])
        );
        assert_eq!(
            split("birdcl 'where a ~ [(1, 2)]' \"b c\"d --e=f ''"),
            some(&["birdcl", "where a ~ [(1, 2)]", "b cd", "--e=f", ""])
        );
    }

    #[test]
    fn what_means_more_to_a_shell_is_not() {
        for command in [
            "", "  ", "a | b", "a; b", "a & ", "a > b", "a $b", "a `b`", "a \"$b\"", "a \\b",
            "a *", "a [b]", "a ?", "a ~", "a {b,c}", "a # b", "a\nb", "A=b c", "a=b", "'a' b",
            "a 'b", "a \"b", "(a)", "a !b", "a ^b", "a b\0c",
        ] {
            assert_eq!(split(command), None, "{command:?}");
        }
    }

    #[test]
    fn what_bash_has_itself_is_left_to_it() {
        let at = |name: &OsStr| OsString::from(format!("/bin/{}", name.display()));
        let of = |command: &[u8], environment: &[_]| {
            words(command).and_then(|words| program(&words, environment, at))
        };
        assert!(of(b"cat /etc/passwd", &[]).is_some());
        assert!(of(b"echo hello", &[]).is_none());
        assert!(of(b"nowhere-to-be-found", &[]).is_none());
        let heard = [(OsString::from("BASH_ENV"), OsString::from("/x"))];
        assert!(of(b"cat /etc/passwd", &heard).is_none());
    }

    #[test]
    fn all_that_bash_has_itself_is_known() {
        // `sh` may be another shell, and some hosts have no bash.
        let Ok(said) = Command::new("bash").args(["-c", "compgen -bk"]).output() else {
            return eprintln!("SKIPPED: there is no bash");
        };
        for word in String::from_utf8_lossy(&said.stdout).lines() {
            assert!(OWN.contains(&word), "{word}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is found, bash gives the same words to the program.
        #[test]
        fn words_are_those_of_bash(rest in "[a-c '\"=~*$./:-]{0,16}") {
            let command = format!("printf-stand-in {rest}");
            let Some(found) = words(command.as_bytes()) else { return Ok(()) };
            let script = format!("printf-stand-in() {{ printf '%s\\0' \"$@\"; }}; {command}");
            let Ok(said) = Command::new("bash").args(["-c", &script]).current_dir("/").output() else {
                return Ok(());
            };
            let expected: Vec<u8> = if found.len() == 1 {
                // printf writes its format once where it has no words.
                vec![0]
            } else {
                found[1..].iter().flat_map(|word| [word.as_bytes(), &[0]].concat()).collect()
            };
            prop_assert_eq!(said.stdout, expected);
        }
    }
}
