//! A machine's serial console: to a file, to events, and to whoever waits for a text.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attest_events::EventKind;
use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::recorder::Recorder;
use crate::runtime::Background;

/// Text kept in memory for waits that begin after it was printed.
const KEPT: usize = 1024 * 1024;
/// How far back a match over several lines is looked for when new text arrives.
const OVERLAP: usize = 64 * 1024;
/// Lines kept for reports of failures.
const TAIL_LINES: usize = 40;
/// What the VMM's buffers hold is read within milliseconds of its end.
const DRAINING: Duration = Duration::from_secs(1);
/// The most that is given at once, of a console that may have any length.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
/// A line without an end is cut here, so that a hostile guest cannot fill memory.
const LONGEST_LINE: usize = 16 * 1024;

/// The console of one machine, over all its boots.
#[derive(Debug)]
pub(crate) struct Console {
    machine: String,
    file: PathBuf,
    /// The file, while the machine runs.
    kept: Arc<Mutex<Option<File>>>,
    text: Arc<Mutex<Text>>,
    grown: watch::Sender<u64>,
    /// Why its file cannot be written any more.
    lost: watch::Sender<Option<Arc<std::io::Error>>>,
    /// Whether there is a stream that has not been read to its end.
    open: watch::Sender<bool>,
    input: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
}

/// What was printed. Positions count all bytes ever printed.
#[derive(Debug, Default)]
struct Text {
    kept: Vec<u8>,
    dropped: u64,
    line: Vec<u8>,
    tail: VecDeque<String>,
    /// Where the text of the machine's latest start begins.
    start: u64,
    /// Where in the file the first text is: others may have written to it before.
    /// Wraps around where what was printed before a machine was saved is not in the file.
    base: Option<u64>,
}

/// Whole lines of a console.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsoleLines {
    /// As they came, each with its end; at most 16 MiB.
    pub text: Vec<u8>,
    /// The position after them: bytes since the machine's start.
    pub position: u64,
    /// Whether nothing follows, because the machine has ended or was never started.
    pub ended: bool,
}

impl Text {
    fn end(&self) -> u64 {
        self.dropped + self.kept.len() as u64
    }

    /// Take new bytes; gives back the lines that they complete.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * KEPT {
            let excess = self.kept.len() - KEPT;
            self.kept.drain(..excess);
            self.dropped += excess as u64;
        }
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' || self.line.len() >= LONGEST_LINE {
                lines.push(self.take_line());
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
        lines
    }

    fn take_line(&mut self) -> String {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes)
            .trim_end_matches('\r')
            .replace('\r', "");
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        line
    }

    fn since(&self, position: u64) -> &[u8] {
        let from = usize::try_from(position.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        &self.kept[from.min(self.kept.len())..]
    }
}

/// Where what is printed goes.
struct Printed {
    machine: String,
    kept: Arc<Mutex<Option<File>>>,
    text: Arc<Mutex<Text>>,
    grown: watch::Sender<u64>,
    lost: watch::Sender<Option<Arc<std::io::Error>>>,
    recorder: Recorder,
}

impl Printed {
    fn push(&self, bytes: &[u8]) {
        let (lines, end) = {
            // Under one lock: the file has the same, in the same order.
            let mut text = self.text.lock().expect("not poisoned");
            self.keep(bytes);
            (text.push(bytes), text.end())
        };
        for line in lines {
            self.recorder
                .record_line(&self.machine, EventKind::Console { line });
        }
        self.grown.send_replace(end);
    }

    fn keep(&self, bytes: &[u8]) {
        if self.lost.borrow().is_none()
            && let Some(file) = self.kept.lock().expect("not poisoned").as_mut()
            && let Err(error) = file.write_all(bytes)
        {
            self.lost.send_replace(Some(Arc::new(error)));
        }
    }
}

impl Console {
    pub(crate) fn new(machine: &str, file: &Path) -> Self {
        Self {
            machine: machine.to_owned(),
            file: file.to_owned(),
            kept: Arc::default(),
            text: Arc::default(),
            grown: watch::Sender::new(0),
            lost: watch::Sender::new(None),
            open: watch::Sender::new(false),
            input: tokio::sync::Mutex::new(None),
        }
    }

    /// Follow the console of a new start of the machine, or of one that goes on. The task ends with the stream.
    pub(crate) async fn follow(
        &self,
        stream: UnixStream,
        recorder: Recorder,
        goes_on: bool,
    ) -> Result<Background> {
        let (mut reader, writer) = stream.into_split();
        *self.input.lock().await = Some(writer);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&self.file)
            .map_err(Error::io(format!(
                "{}: the console's file {} cannot be opened",
                self.machine,
                self.file.display()
            )))?;
        let bytes = file.metadata().map_or(0, |file| file.len());
        if goes_on {
            self.go_on(bytes);
        } else {
            self.begin(bytes);
        }
        *self.kept.lock().expect("not poisoned") = Some(file);
        let printed = self.printed(recorder);
        let open = self.open.clone();
        open.send_replace(true);
        Ok(Background::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                printed.push(&buffer[..count]);
            }
            open.send_replace(false);
        }))
    }

    /// Take what was printed elsewhere, as a command's stderr, for printed here.
    pub(crate) fn print(&self, bytes: &[u8], recorder: &Recorder) {
        self.printed(recorder.clone()).push(bytes);
    }

    fn printed(&self, recorder: Recorder) -> Printed {
        Printed {
            machine: self.machine.clone(),
            kept: Arc::clone(&self.kept),
            text: Arc::clone(&self.text),
            grown: self.grown.clone(),
            lost: self.lost.clone(),
            recorder,
        }
    }

    /// What was printed before the machine was saved, so far as it is kept: for waits, not for the file.
    pub(crate) fn remember(&self, before: &[u8]) {
        let mut text = self.text.lock().expect("not poisoned");
        text.push(before);
        text.start = text.end();
        self.grown.send_replace(text.end());
    }

    /// As before, or from what it remembers; its file has so many bytes.
    fn go_on(&self, bytes: u64) {
        let mut text = self.text.lock().expect("not poisoned");
        let base = bytes.wrapping_sub(text.end());
        text.base.get_or_insert(base);
    }

    /// A new start of the machine; its file has so many bytes.
    fn begin(&self, bytes: u64) {
        let mut text = self.text.lock().expect("not poisoned");
        text.start = text.end();
        text.base.get_or_insert(bytes);
    }

    /// The whole lines from this position of the machine's latest start on; what is unfinished
    /// counts when nothing follows.
    pub(crate) fn lines(&self, from: u64) -> ConsoleLines {
        // Before the text: then none is missed that came before the end.
        let ended = !*self.open.borrow();
        let text = self.text.lock().expect("not poisoned");
        let at = text.start + from;
        let mut lines = self.dropped(&text, at);
        if lines.len() <= LONGEST_ANSWER {
            lines.extend_from_slice(text.since(at));
        }
        drop(text);
        let is_cut = lines.len() > LONGEST_ANSWER;
        lines.truncate(LONGEST_ANSWER);
        let whole = lines.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |last| last + 1);
        if whole == 0 && is_cut {
            // A line without end, in pieces.
        } else if !ended || is_cut {
            lines.truncate(whole);
        }
        let position = from + lines.len() as u64;
        if lines.last().is_some_and(|last| *last != b'\n') {
            lines.push(b'\n');
        }
        ConsoleLines {
            text: lines,
            position,
            ended: ended && !is_cut,
        }
    }

    /// What is in memory no more, of the file.
    fn dropped(&self, text: &Text, at: u64) -> Vec<u8> {
        let mut lines = Vec::new();
        if at < text.dropped {
            let length = (text.dropped - at).min(LONGEST_ANSWER as u64 + 1);
            let read = File::open(&self.file).and_then(|mut file| {
                let base = text.base.unwrap_or_default();
                file.seek(SeekFrom::Start(base.wrapping_add(at)))?;
                file.take(length).read_to_end(&mut lines)
            });
            // A file that is gone is like text that nobody kept.
            let _ = read;
        }
        lines
    }

    /// As [`Console::lines`], as soon as there are some, or nothing follows.
    pub(crate) async fn next_lines(&self, from: u64) -> ConsoleLines {
        let (mut grown, mut open) = (self.grown.subscribe(), self.open.subscribe());
        loop {
            grown.borrow_and_update();
            open.borrow_and_update();
            let lines = self.lines(from);
            if !lines.text.is_empty() || lines.ended {
                return lines;
            }
            // The senders live as long as `self`.
            tokio::select! {
                _ = grown.changed() => {}
                _ = open.changed() => {}
            }
        }
    }

    /// Resolves when all is read of a machine that has ended, or a moment later.
    pub(crate) async fn drained(&self) {
        let mut open = self.open.subscribe();
        let _ = tokio::time::timeout(DRAINING, open.wait_for(|open| !open)).await;
    }

    /// Resolves when what is printed can no longer be kept, with why.
    pub(crate) async fn lost(&self) -> Error {
        let mut lost = self.lost.subscribe();
        let lost = lost.wait_for(Option::is_some).await;
        let source = lost.expect("the sender lives in self").clone();
        Error::ConsoleLost {
            machine: self.machine.clone(),
            path: self.file.clone(),
            source: source.expect("waited for"),
        }
    }

    /// The last lines, oldest first, with the unfinished one.
    pub(crate) fn tail(&self) -> Vec<String> {
        let text = self.text.lock().expect("not poisoned");
        let mut lines: Vec<String> = text.tail.iter().cloned().collect();
        if !text.line.is_empty() {
            lines.push(String::from_utf8_lossy(&text.line).into_owned());
        }
        lines
    }

    pub(crate) fn last_line(&self) -> String {
        let tail = self.tail();
        let last = tail.iter().rev().find(|line| !line.trim().is_empty());
        last.cloned().unwrap_or_else(|| "nothing".to_owned())
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// All text that is still kept.
    pub(crate) fn text(&self) -> Vec<u8> {
        self.text.lock().expect("not poisoned").kept.clone()
    }

    /// Until the text printed since the machine's first start matches.
    pub(crate) async fn wait_for(&self, regex: &Regex) -> Vec<u8> {
        let mut grown = self.grown.subscribe();
        let mut scanned = 0;
        loop {
            grown.borrow_and_update();
            {
                let text = self.text.lock().expect("not poisoned");
                if let Some(found) = regex.find(text.since(scanned)) {
                    return found.as_bytes().to_vec();
                }
                scanned = scanned.max(text.end().saturating_sub(OVERLAP as u64));
            }
            // The sender lives as long as `self`.
            let _ = grown.changed().await;
        }
    }

    /// Type bytes.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut input = self.input.lock().await;
        let Some(writer) = input.as_mut() else {
            return Err(Error::MachineOff {
                machine: self.machine.clone(),
            });
        };
        writer.write_all(bytes).await.map_err(Error::io(format!(
            "{}: typing at the console failed",
            self.machine
        )))
    }
}

impl Machine {
    /// What the console printed since this position of the machine's latest start, in whole lines.
    /// 0 is the start.
    pub fn console_lines(&self, from: u64) -> ConsoleLines {
        self.console().lines(from)
    }

    /// As [`Machine::console_lines`], as soon as there are some, or nothing follows.
    pub async fn next_console_lines(&self, from: u64) -> ConsoleLines {
        self.console().next_lines(from).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> Console {
        Console::new("m", Path::new("/dev/null"))
    }

    fn print(console: &Console, text: &[u8]) -> Vec<String> {
        let lines = console.text.lock().unwrap().push(text);
        console.grown.send_modify(|end| *end += text.len() as u64);
        lines
    }

    #[test]
    fn lines_are_whole_and_lose_their_ends() {
        let console = console();
        assert_eq!(print(&console, b"one\r\ntw"), ["one"]);
        assert_eq!(print(&console, b"o\nthree"), ["two"]);
        assert_eq!(console.tail(), ["one", "two", "three"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let console = console();
        let lines = print(&console, &vec![b'x'; LONGEST_LINE + 1]);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST_LINE]
        );
    }

    #[tokio::test]
    async fn a_match_may_span_reads_and_lines() {
        let console = console();
        print(&console, b"log");
        let regex = Regex::new(r"login:\s+ready").unwrap();
        let waiting = console.wait_for(&regex);
        let printing = async {
            print(&console, b"in:\n");
            print(&console, b"  ready\n");
        };
        let (found, ()) = tokio::join!(waiting, printing);
        assert_eq!(found, b"login:\n  ready");
    }

    #[tokio::test]
    async fn old_text_is_found_and_memory_is_bounded() {
        let console = console();
        print(&console, b"needle\n");
        assert_eq!(
            console.wait_for(&Regex::new("needle").unwrap()).await,
            b"needle"
        );
        for _ in 0..64 {
            print(&console, &vec![b'\n'; 64 * 1024]);
        }
        assert!(console.text().len() <= 2 * KEPT);
    }

    #[tokio::test]
    async fn lines_are_told_from_the_latest_start_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.console.log");
        std::fs::write(&file, "of an earlier run\n").unwrap();
        let console = Console::new("m", &file);
        let lines = |text: &str, position, ended| ConsoleLines {
            text: text.as_bytes().to_vec(),
            position,
            ended,
        };
        assert_eq!(console.lines(0), lines("", 0, true));
        let (mut guest, driver) = UnixStream::pair().unwrap();
        let following = console
            .follow(driver, Recorder::silent(), false)
            .await
            .unwrap();
        guest.write_all(b"one\ntwo\nthr").await.unwrap();
        assert_eq!(console.next_lines(0).await, lines("one\ntwo\n", 8, false));
        assert_eq!(console.lines(4), lines("two\n", 8, false));
        drop(guest);
        assert_eq!(console.next_lines(8).await, lines("thr\n", 11, true));
        following.end().await;
        let (mut guest, driver) = UnixStream::pair().unwrap();
        let _following = console
            .follow(driver, Recorder::silent(), false)
            .await
            .unwrap();
        guest.write_all(b"again\n").await.unwrap();
        assert_eq!(console.next_lines(0).await, lines("again\n", 6, false));
        // More than is kept in memory comes from the file.
        let much = vec![b'x'; 4 * KEPT];
        guest.write_all(&much).await.unwrap();
        guest.write_all(b"\n").await.unwrap();
        assert_eq!(console.next_lines(6).await.text.len(), much.len() + 1);
        assert!(console.lines(0).text.starts_with(b"again\nxxx"));
    }
}
