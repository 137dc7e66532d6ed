//! What the host's shell is asked to do: take the agent from its stdin, and become it.

/// `dd` counts in these, and counts exactly, so what follows the agent is left for it.
const BLOCK: usize = 64 * 1024;

/// Directories that may hold programs, tried in this order: some hosts mount some of them noexec.
/// The agent removes its file as it starts; what cannot be started is removed here. After that the
/// shell is the agent, so nothing is left to be removed, however the connection ends.
const SCRIPT: &str = r#"set -eu
umask 077
file=""
before=""
trap 'rm -f "$file" "$before"' EXIT HUP INT TERM
for directory in "${TMPDIR:-/tmp}" /var/tmp /dev/shm /run "${HOME:-/root}"; do
    file=$(mktemp "$directory/attest-agent.XXXXXX" 2>/dev/null) || continue
    if [ -z "$before" ]; then
        dd bs=@BLOCK@ count=@COUNT@ iflag=fullblock of="$file" 2>/dev/null
    else
        cat "$before" > "$file"
        rm -f "$before"
    fi
    before=$file
    chmod 700 "$file"
    if "$file" --check < /dev/null 2>/dev/null; then
        exec "$file" --stdio
    fi
done
echo "no directory of this host may hold programs (mounted noexec, or full)" >&2
exit 126
"#;

/// The script, and what its stdin begins with: the agent, filled up to whole blocks.
pub(super) fn start(agent: &[u8]) -> (String, Vec<u8>) {
    let count = agent.len().div_ceil(BLOCK);
    let mut bytes = agent.to_vec();
    bytes.resize(count * BLOCK, 0);
    let script = SCRIPT
        .replace("@BLOCK@", &BLOCK.to_string())
        .replace("@COUNT@", &count.to_string());
    // As one word for the user's own shell, whatever that is, to give to a plain one.
    let word = script.replace('\'', r"'\''");
    (format!("exec /bin/sh -c '{word}'"), bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    /// Run it with a program in the agent's place that says where it was, and what it gets.
    fn run(tmpdir: &Path) -> (String, String) {
        let agent = b"#!/bin/sh\n[ \"$1\" = --stdio ] || exit 0\nrm -f \"$0\"\necho \"$0\"\nexec cat\nexit\n";
        let (script, bytes) = start(agent);
        let mut shell = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("TMPDIR", tmpdir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(&bytes).unwrap();
        stdin.write_all(b"what follows").unwrap();
        drop(stdin);
        let mut said = String::new();
        let mut stdout = shell.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        assert!(shell.wait().unwrap().success());
        let (place, rest) = said.split_once('\n').unwrap();
        (place.to_owned(), rest.to_owned())
    }

    #[test]
    fn the_agent_is_run_once_and_gets_what_follows_it() {
        let directory = tempfile::tempdir().unwrap();
        let (place, rest) = run(directory.path());
        let own = directory.path().to_str().unwrap();
        assert!(place.starts_with(own), "{place}");
        assert_eq!(rest, "what follows");
        assert_eq!(std::fs::read_dir(own).unwrap().count(), 0);
    }

    #[test]
    fn another_directory_is_taken_where_one_holds_no_files() {
        let (place, rest) = run(Path::new("/proc"));
        assert!(place.starts_with("/var/tmp/"), "{place}");
        assert_eq!(rest, "what follows");
        assert!(!Path::new(&place).exists());
    }
}
