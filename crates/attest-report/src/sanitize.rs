//! What a guest says is shown, never obeyed: no byte of it may steer the user's terminal.

use anstream::adapter::strip_str;

/// The text on one line without anything that a terminal acts on: escape sequences are taken out
/// whole, then every control character (C0, DEL, C1) and the marks that reverse the direction of
/// text, and the two non-characters that XML forbids. Tabs and line ends become spaces.
pub fn sanitize(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for part in strip_str(text) {
        for character in part.chars() {
            match character {
                '\t' => clean.push_str("    "),
                '\n' => clean.push(' '),
                '\u{fffe}' | '\u{ffff}' => {}
                _ if steers(character) => {}
                _ => clean.push(character),
            }
        }
    }
    clean
}

/// The lines of a text, each [`sanitize`]d. The end of the last line is no line of its own.
pub fn sanitized_lines(text: &str) -> impl Iterator<Item = String> {
    // Line by line, so that a sequence left open in one cannot swallow the next.
    text.lines().map(sanitize)
}

/// A terminal acts on it, or reorders what stands around it.
pub(crate) fn steers(character: char) -> bool {
    character.is_control() || steers_direction(character)
}

/// Unicode's explicit directional marks (UAX #9, sections 2.1 to 2.6): they can make a line read
/// as something that it is not.
fn steers_direction(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The line cut to `width` characters, with a mark where it was cut.
pub(crate) fn cut(line: &str, width: Option<usize>) -> String {
    let Some(width) = width else {
        return line.to_owned();
    };
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some(_) => line
            .chars()
            .take(width.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_are_taken_out_whole() {
        let cases = [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;owned\x07title", "title"),
            ("\x1b]52;c;ZXZpbA==\x1b\\clipboard", "clipboard"),
            ("\x1bP1$r0m\x1b\\dcs", "dcs"),
            ("erase\r\x08\x08\x7f me", "erase me"),
            ("\u{9b}31mc1", "31mc1"),
            ("a\tb", "a    b"),
            ("naïve ✓ 日本", "naïve ✓ 日本"),
            ("abc\u{202e}cba", "abccba"),
        ];
        for (hostile, clean) in cases {
            assert_eq!(sanitize(hostile), clean, "{hostile:?}");
        }
    }

    #[test]
    fn an_open_sequence_ends_with_its_line() {
        let lines: Vec<_> = sanitized_lines("one\x1b]0;two\nthree\r\n").collect();
        assert_eq!(lines, ["one", "three"]);
    }

    #[test]
    fn cutting_keeps_the_width() {
        assert_eq!(cut("abc", Some(3)), "abc");
        assert_eq!(cut("äbcd", Some(3)), "äb…");
        assert_eq!(cut("abcd", None), "abcd");
    }

    proptest! {
        #[test]
        fn nothing_that_steers_is_left(text in any::<String>()) {
            prop_assert!(!sanitize(&text).contains(steers));
        }

        #[test]
        fn bytes_of_sequences_neither(text in "[\\x1b\\[\\]P_^;?0-9mHJ\\x07\\x18\\x9b\\\\a-c]{0,40}") {
            prop_assert!(!sanitize(&text).contains(char::is_control));
        }
    }
}
