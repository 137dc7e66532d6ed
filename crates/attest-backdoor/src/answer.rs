//! What a shell answers to one line: a line of base64, then a line with an exit status. It comes
//! from a guest, so nothing of it is believed, and little of it is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};

/// What the shell says when it is ready, in every generation of NixOS's guests; a shell that says
/// it again belongs to another boot.
pub const ANNOUNCEMENT: &str = "Spawning backdoor root shell...";
/// The part of it that no base64 has in it: what is before may have been taken for output.
pub(crate) const UNMISTAKABLE: &str = " backdoor root shell...";

/// Characters of output after which the shell waits for a word of the host's. A Unix socket holds
/// 208 KiB by default, of which small messages take more than they have bytes.
pub(crate) const PIECE: usize = 32 * 1024;

/// Bytes of a line that is no answer, for messages.
const SHOWN: usize = 200;
/// Bytes of a line in which the announcement is looked for.
const LONGEST: usize = 64 * 1024;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes of the command's output.
    Output(Bytes),
    /// Its exit status, with which the answer ends.
    Status(i32),
    /// The shell was started anew: the answer does not come.
    Announced,
    /// Something else, with what it is. The answer ends.
    Wrong(Wrong),
}

/// What a shell says in place of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No base64 where the output belongs.
    #[error("the shell answered `{0}` where output in base64 belongs")]
    Output(String),
    /// No number where the status belongs: most likely the terminal echoes what is typed.
    #[error(
        "the shell answered `{0}` where an exit status belongs: something else writes to its terminal, or the terminal echoes"
    )]
    Status(String),
}

/// Takes one answer from what the shell prints.
#[derive(Debug, Default)]
pub struct Answer {
    /// The output's line is over.
    has_output: bool,
    /// The output was padded, which only its end is.
    is_padded: bool,
    /// Characters of output so far.
    taken: usize,
}

impl Answer {
    /// Whole pieces of output so far: after each, the shell waits.
    pub(crate) fn pieces(&self) -> usize {
        self.taken / PIECE
    }

    /// The next part; `None` when that takes more bytes. `buffer` holds what was not taken yet: at
    /// most 64 KiB and what the caller added since.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Option<Part> {
        if self.has_output {
            return Self::status(buffer);
        }
        let end = memchr::memchr(b'\n', buffer);
        let line = &buffer[..end.unwrap_or(buffer.len())];
        let strange = if self.is_padded {
            line.iter().position(|byte| *byte != b'\r')
        } else {
            line.iter().position(|byte| !is_base64(*byte))
        };
        let Some(strange) = strange else {
            return self.output(buffer, end);
        };
        // The announcement may follow what a dying command printed, in the same line.
        if end.is_none() && line.len() < LONGEST.min(strange + ANNOUNCEMENT.len() + SHOWN) {
            if announces(line) {
                buffer.clear();
                return Some(Part::Announced);
            }
            return None;
        }
        let part = if announces(line) {
            Part::Announced
        } else {
            Part::Wrong(Wrong::Output(shown(line)))
        };
        buffer.advance(end.map_or(buffer.len(), |end| end + 1));
        Some(part)
    }

    fn output(&mut self, buffer: &mut BytesMut, end: Option<usize>) -> Option<Part> {
        let length = end.unwrap_or(buffer.len());
        let mut characters: Vec<u8> = buffer[..length].to_vec();
        // A terminal may end lines with both.
        characters.retain(|byte| *byte != b'\r');
        let whole = characters.len() - characters.len() % 4;
        if end.is_none() {
            if whole == 0 {
                return None;
            }
            buffer.clear();
            buffer.extend_from_slice(&characters.split_off(whole));
        } else {
            buffer.advance(length + 1);
            self.has_output = true;
        }
        self.taken = self.taken.saturating_add(characters.len());
        self.is_padded |= characters.last() == Some(&b'=');
        match STANDARD.decode(&characters) {
            Ok(bytes) => Some(Part::Output(bytes.into())),
            Err(_) => Some(Part::Wrong(Wrong::Output(shown(&characters)))),
        }
    }

    fn status(buffer: &mut BytesMut) -> Option<Part> {
        let end = memchr::memchr(b'\n', buffer);
        let line = &buffer[..end.unwrap_or(buffer.len())];
        if announces(line) {
            buffer.clear();
            return Some(Part::Announced);
        }
        if end.is_none() && line.len() < LONGEST {
            return None;
        }
        let text = line.trim_ascii();
        let digits = (1..=3).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
        let part = std::str::from_utf8(text)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok())
            .map_or_else(|| Part::Wrong(Wrong::Status(shown(line))), Part::Status);
        buffer.advance(end.map_or(buffer.len(), |end| end + 1));
        Some(part)
    }
}

fn announces(line: &[u8]) -> bool {
    memchr::memmem::find(line, UNMISTAKABLE.as_bytes()).is_some()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\r')
}

fn shown(line: &[u8]) -> String {
    attest_protocol::one_line(&String::from_utf8_lossy(&line[..line.len().min(SHOWN)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All parts of what comes in pieces of this size, and what is left.
    fn parts(text: &[u8], piece: usize) -> (Vec<u8>, Option<Part>) {
        let mut answer = Answer::default();
        let mut buffer = BytesMut::new();
        let mut output = Vec::new();
        for piece in text.chunks(piece.max(1)) {
            buffer.extend_from_slice(piece);
            while let Some(part) = answer.next(&mut buffer) {
                match part {
                    Part::Output(bytes) => output.extend_from_slice(&bytes),
                    end => return (output, Some(end)),
                }
            }
            assert!(buffer.len() < LONGEST + piece.len());
        }
        (output, None)
    }

    #[test]
    fn what_is_no_answer_has_a_name() {
        for (text, end) in [
            ("aGk=\nok\n", Part::Wrong(Wrong::Status("ok".to_owned()))),
            ("aGk=\n\n", Part::Wrong(Wrong::Status(String::new()))),
            (
                "aGk=\n1234\n",
                Part::Wrong(Wrong::Status("1234".to_owned())),
            ),
            ("aG=k\n0\n", Part::Wrong(Wrong::Output("aG=k".to_owned()))),
            (
                "aGk=aGk=\n0\n",
                Part::Wrong(Wrong::Output("aGk=aGk=".to_owned())),
            ),
            ("aGk\n0\n", Part::Wrong(Wrong::Output("aGk".to_owned()))),
            (
                "bash: x: y\n0\n",
                Part::Wrong(Wrong::Output("bash: x: y".to_owned())),
            ),
            ("aGk=\r\n0\r\n", Part::Status(0)),
            ("\n141\n", Part::Status(141)),
        ] {
            assert_eq!(parts(text.as_bytes(), 1024).1.unwrap(), end, "{text:?}");
        }
        let endless = vec![b'!'; LONGEST + 1];
        assert!(matches!(parts(&endless, 4096).1, Some(Part::Wrong(_))));
    }

    #[test]
    fn an_announcement_is_seen_wherever_it_comes() {
        for before in [
            "",
            "aGk=",
            "aGk=\n",
            "aGk=\n1",
            "[  0.1] Linux\u{1b}[0m ",
            "x\r\n",
        ] {
            for piece in [1, 7, 1024] {
                let text = format!("{before}{ANNOUNCEMENT}\n");
                let (_, end) = parts(text.as_bytes(), piece);
                let other = matches!(end, Some(Part::Wrong(_)));
                assert!(end == Some(Part::Announced) || (other && before.contains("x\r\n")));
            }
        }
    }

    proptest! {
        #[test]
        fn an_answer_comes_whole_in_pieces_of_any_size(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            status in 0..256_i32,
            piece in 1..100_usize,
        ) {
            let text = format!("{}\n{status}\n", STANDARD.encode(&bytes));
            let (output, end) = parts(text.as_bytes(), piece);
            prop_assert_eq!(output, bytes);
            prop_assert_eq!(end, Some(Part::Status(status)));
        }

        #[test]
        fn anything_else_ends_or_waits(
            bytes in proptest::collection::vec(any::<u8>(), 0..500),
            piece in 1..100_usize,
        ) {
            parts(&bytes, piece);
        }
    }
}
