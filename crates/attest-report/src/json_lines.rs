//! Every event as one line of JSON, as it happens.

use std::io::{self, Write};

use attest_events::Event;
use serde::Serialize as _;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::Reader;
use crate::sanitize::steers;

/// Writes each event as one line. Lines are whole: a reader at the other end of a pipe never sees
/// a part of one while it waits for the next.
#[derive(Debug)]
pub struct JsonLines<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`, which needs no buffer of its own.
    pub fn new(out: W) -> Self {
        Self {
            out,
            line: Vec::new(),
        }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Reader for JsonLines<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.line.clear();
        event.serialize(&mut Serializer::with_formatter(&mut self.line, Escaping))?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Compact JSON in which also those characters are escaped that steer a terminal and that JSON
/// itself lets through: a user may look at the stream with their own eyes.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|(_, c)| steers(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            // All of them are below U+10000: one escape each.
            write!(out, "\\u{:04x}", u32::from(character))?;
            rest = &rest[at + character.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn written() -> String {
        let mut reader = JsonLines::new(Vec::new());
        sample::play(&mut reader);
        String::from_utf8(reader.into_inner()).unwrap()
    }

    #[test]
    fn every_event_comes_back_from_its_line() {
        let read: Vec<Event> = written()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read, sample::events());
    }

    #[test]
    fn no_line_steers_the_terminal_that_shows_it() {
        assert!(!written().contains(|c| c != '\n' && steers(c)));
    }

    #[test]
    fn the_form_of_the_lines() {
        insta::assert_snapshot!(written());
    }
}
