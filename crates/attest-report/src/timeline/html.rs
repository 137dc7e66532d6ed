//! HTML that nobody but this program writes the tags of.

use std::fmt::Write as _;

use crate::sanitize::{cut, sanitize, sanitized_lines};

/// Bytes of a character, at most on average, where characters are bounded.
const BYTES: usize = 3;

/// A part of a page. What is in it as markup stands in the program's own text (`&'static str`);
/// everything else is sanitized and escaped, so that no guest can add a tag or an attribute. It is
/// well-formed XML besides, which tests hold true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    /// Adds tags.
    pub(super) fn tag(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text on one line: also as the value of an attribute in quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.escape(&sanitize(text))
    }

    /// The same, of at most so many characters; fewer, where they are longer than characters are,
    /// so that what is bounded in characters is also in bytes.
    pub(super) fn text_up_to(&mut self, text: &str, width: usize) -> &mut Self {
        let text = cut(&sanitize(text), Some(width));
        let end = self.0.len() + BYTES * width;
        let mut characters = text.chars();
        while self.0.len() < end {
            match characters.next() {
                Some(character) => self.character(character),
                None => return self,
            }
        }
        if characters.next().is_some() {
            self.0.push('…');
        }
        self
    }

    /// Adds lines, each of at most so many characters.
    pub(super) fn lines_up_to(&mut self, text: &str, width: usize) -> &mut Self {
        for line in sanitized_lines(text) {
            self.escape(cut(&line, Some(width)).trim_end());
            self.0.push('\n');
        }
        self
    }

    /// Adds a number.
    pub(super) fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        let _ = write!(self.0, "{}", number.into());
        self
    }

    /// Adds a part of 100, to two digits behind the point.
    pub(super) fn percent(&mut self, percent: f64) -> &mut Self {
        let text = format!("{percent:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        self.0.push_str(text);
        self.0.push('%');
        self
    }

    /// Adds the address of a file beside the page: never one of another place.
    pub(super) fn beside(&mut self, path: &str) -> &mut Self {
        self.0.push('.');
        for part in path.split('/').filter(|part| !part.is_empty()) {
            self.0.push('/');
            for byte in part.bytes() {
                if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                    self.0.push(char::from(byte));
                } else {
                    let _ = write!(self.0, "%{byte:02X}");
                }
            }
        }
        self
    }

    /// Adds another part.
    pub(super) fn part(&mut self, part: &Self) -> &mut Self {
        self.0.push_str(&part.0);
        self
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn escape(&mut self, text: &str) -> &mut Self {
        text.chars().for_each(|character| self.character(character));
        self
    }

    fn character(&mut self, character: char) {
        match character {
            '<' => self.0.push_str("&lt;"),
            '>' => self.0.push_str("&gt;"),
            '&' => self.0.push_str("&amp;"),
            '"' => self.0.push_str("&quot;"),
            '\'' => self.0.push_str("&#39;"),
            _ => self.0.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(write: impl FnOnce(&mut Html) -> &mut Html) -> String {
        let mut html = Html::default();
        write(&mut html);
        html.into_string()
    }

    #[test]
    fn text_is_no_markup() {
        let hostile = "\x1b[31m</title><script a='\"'>&amp;\u{202e}\0";
        assert_eq!(
            of(|html| html.text(hostile)),
            "&lt;/title&gt;&lt;script a=&#39;&quot;&#39;&gt;&amp;amp;"
        );
        assert_eq!(of(|html| html.text_up_to("<<<<", 3)), "&lt;&lt;…");
        assert_eq!(of(|html| html.lines_up_to("a\r\n\n<", 3)), "a\n\n&lt;\n");
    }

    #[test]
    fn addresses_stay_beside_the_page() {
        let cases = [
            ("a/b.log", "./a/b.log"),
            ("//other/x", "./other/x"),
            ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
            ("\"><script>", "./%22%3E%3Cscript%3E"),
            ("ä b", "./%C3%A4%20b"),
        ];
        for (path, address) in cases {
            assert_eq!(of(|html| html.beside(path)), address);
        }
    }

    #[test]
    fn percents_have_no_digits_that_say_nothing() {
        for (percent, text) in [(0.0, "0%"), (12.345, "12.35%"), (99.996, "100%")] {
            assert_eq!(of(|html| html.percent(percent)), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_said_ends_what_it_stands_in(text in any::<String>()) {
            for html in [
                of(|html| html.text(&text)),
                of(|html| html.lines_up_to(&text, 50)),
                of(|html| html.beside(&text)),
            ] {
                prop_assert!(!html.contains(['<', '>', '"', '\'']), "{html}");
            }
        }
    }
}
