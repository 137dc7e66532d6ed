//! What a script prints.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;

use attest::Recorder;
use attest::events::{Attributes, EventKind, LogLevel};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

/// Lines of a script's own output that its report shows.
const SHOWN: usize = 200;
/// A longer line is cut into such parts, bytes.
const LONGEST_LINE: usize = 16 * 1024;
/// What a pipe holds at most, unless somebody enlarges it, bytes: pipe(7).
const PIPE: usize = 64 * 1024;

/// Every line becomes an event; the last ones are given back. It ends with the script, also when
/// processes that this one started go on printing.
pub(crate) async fn follow(
    mut output: Receiver,
    mut is_over: oneshot::Receiver<()>,
    recorder: &Recorder,
) -> Vec<String> {
    let mut lines = Lines {
        rest: Vec::new(),
        kept: VecDeque::new(),
        recorder,
    };
    let mut bytes = vec![0; PIPE];
    loop {
        tokio::select! {
            biased;
            _ = &mut is_over => {
                // What it printed last is in the pipe, whether or not tokio has heard of it.
                if let Ok(output) = output.into_nonblocking_fd() {
                    let count = File::from(output).read(&mut bytes).unwrap_or(0);
                    lines.take(&bytes[..count]);
                }
                break;
            }
            read = output.read(&mut bytes) => match read {
                Ok(count @ 1..) => lines.take(&bytes[..count]),
                Ok(0) | Err(_) => break,
            },
        }
    }
    lines.end()
}

struct Lines<'a> {
    rest: Vec<u8>,
    kept: VecDeque<String>,
    recorder: &'a Recorder,
}

impl Lines<'_> {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            for part in part.chunks(LONGEST_LINE) {
                self.rest.extend_from_slice(part);
                if part.ends_with(b"\n") || self.rest.len() >= LONGEST_LINE {
                    self.line();
                }
            }
        }
    }

    fn line(&mut self) {
        let line = String::from_utf8_lossy(&self.rest).trim_end().to_owned();
        self.rest.clear();
        self.recorder.record(EventKind::Log {
            level: LogLevel::Info,
            message: line.clone(),
            attributes: Attributes::new(),
        });
        if self.kept.len() == SHOWN {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    fn end(mut self) -> Vec<String> {
        if !self.rest.is_empty() {
            self.line();
        }
        self.kept.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn lines_until_the_end_of_the_script_whoever_holds_the_pipe() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (over, is_over) = oneshot::channel();
        let (recorder, _events) = Recorder::new(Instant::now());
        let output = Receiver::from_owned_fd(reader.into()).unwrap();
        let long = "x".repeat(LONGEST_LINE + 1);
        write!(writer, "one\n\ntwo\u{ff}\n{long}\nlast").unwrap();
        over.send(()).unwrap();
        let said = follow(output, is_over, &recorder).await;
        assert_eq!(said[..3], ["one", "", "two\u{ff}"]);
        assert_eq!(said[3].len(), LONGEST_LINE);
        assert_eq!(said[4..], ["x", "last"]);
        drop(writer);
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_holds_is_the_end() {
        let (reader, writer) = std::io::pipe().unwrap();
        let (_over, is_over) = oneshot::channel();
        let (recorder, _events) = Recorder::new(Instant::now());
        let output = Receiver::from_owned_fd(reader.into()).unwrap();
        drop(writer);
        let said = follow(output, is_over, &recorder).await;
        assert_eq!(said, Vec::<String>::new());
    }
}
