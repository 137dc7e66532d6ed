//! Where the time of a run went, as one page for a browser.
//!
//! The page has no script, and takes nothing from elsewhere; its Content-Security-Policy forbids
//! both. What guests say gets into it through one type only ([`html::Html`]).
//!
//! It stays small: of what there may be any number of, the longest and all that failed are shown,
//! and what was left out is said.

mod bars;
mod failure;
mod html;
mod lane;
mod most;
mod page;
mod rows;
mod scale;
mod seen;

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::path::Path;

use attest_events::{Breakdown, Event};

use self::seen::Seen;
use crate::Reader;

/// What the file has until the run is over: also where attest was ended at once.
const UNFINISHED: &str = "<!doctype html><meta charset=\"utf-8\"><title>attest</title>\
    <p>This run is not over, or was ended at once: its timeline is written at its end. \
    <a href=\"./events.jsonl\">events.jsonl</a> has what happened until now.\n";

/// Collects the run and writes it as one HTML page at its end: tests, machines, commands and waits
/// as bars on a scale of time, failures, and the breakdown.
#[derive(Debug)]
pub struct Timeline<W> {
    out: W,
    seen: Seen,
    written: bool,
}

impl Timeline<File> {
    /// Writes to the file, which is made now so that a path that cannot be written is known before
    /// the run.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        // The page is longer, so that nothing is left of it.
        file.write_all(UNFINISHED.as_bytes())?;
        file.rewind()?;
        Ok(Self::new(file))
    }
}

impl<W: Write> Timeline<W> {
    /// Writes to `out`, which needs no buffer of its own.
    pub fn new(out: W) -> Self {
        Self {
            out,
            seen: Seen::new(),
            written: false,
        }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn write(&mut self, breakdown: Option<Breakdown>) -> io::Result<()> {
        if std::mem::replace(&mut self.written, true) {
            return Ok(());
        }
        let until_now = self.seen.finish();
        let page = page::page(&self.seen, &breakdown.unwrap_or(until_now));
        self.out.write_all(page.into_string().as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Reader for Timeline<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match self.seen.event(event) {
            Some(breakdown) => self.write(Some(breakdown)),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write(None)
    }
}

#[cfg(test)]
mod tests;
