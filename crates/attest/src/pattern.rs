//! Patterns: regular expressions of waits and demands.

use regex::bytes::{Regex, RegexBuilder};

/// Compile a pattern. `^` and `$` are at lines, which end with `\n` or, as consoles have it,
/// with `\r\n`: what is searched grows by lines, and its last one is seldom the one meant.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .crlf(true)
        .build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_have_ends() {
        for text in ["one\nready\ntwo\n", "one\r\nready\r\ntwo", "ready"] {
            assert!(
                super::compile("^rea.*y$")
                    .unwrap()
                    .is_match(text.as_bytes())
            );
        }
        assert!(!super::compile("^rea$").unwrap().is_match(b"ready\n"));
    }
}
