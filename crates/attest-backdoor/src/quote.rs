//! Words for a shell.

/// Quote bytes as one word of a shell's: as they are where nothing in them means anything to a
/// shell, else between apostrophes. The same form as Python's `shlex.quote` gives.
pub(crate) fn quote(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    let mut quoted = Vec::with_capacity(word.len() + 2);
    quoted.push(b'\'');
    for byte in word {
        if *byte == b'\'' {
            // An apostrophe ends the word's part, stands between quotation marks, and begins anew.
            quoted.extend_from_slice(br#"'"'"'"#);
        } else {
            quoted.push(*byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_quoted_as_by_python() {
        for (word, quoted) in [
            ("", "''"),
            ("plain-word_1.0/@%+=:,", "plain-word_1.0/@%+=:,"),
            ("two words", "'two words'"),
            ("it's", r#"'it'"'"'s'"#),
            ("ü", "'ü'"),
            ("$HOME\n", "'$HOME\n'"),
        ] {
            assert_eq!(String::from_utf8(quote(word.as_bytes())).unwrap(), quoted);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_gives_back_what_was_quoted(word in proptest::collection::vec(1_u8.., 0..64)) {
            let mut script = b"printf %s ".to_vec();
            script.extend_from_slice(&quote(&word));
            let output = std::process::Command::new("bash")
                .arg("-c")
                .arg(std::ffi::OsStr::from_bytes(&script))
                .output()
                .unwrap();
            prop_assert_eq!(output.stdout, word);
        }
    }
}
