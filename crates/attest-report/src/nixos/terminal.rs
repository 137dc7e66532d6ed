//! The log as the NixOS test driver prints it.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use attest_events::{Event, LogLevel};

use super::parts::{Entry, Parts, finished, title};
use crate::Reader;
use crate::sanitize::sanitized_lines;

/// Prints what a script and its machines say, line by line.
///
/// What is from a guest is sanitised; styles are written, and are for `out` to take out where
/// they are not wanted.
#[derive(Debug)]
pub struct NixosTerminal<W> {
    out: W,
    parts: Parts,
}

const PART: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();
const ALARM: Style = AnsiColor::Red.on_default();

impl<W: Write> NixosTerminal<W> {
    /// Prints what matters at least that much.
    pub fn new(out: W, least: LogLevel) -> Self {
        Self {
            out,
            parts: Parts::new(least),
        }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Reader for NixosTerminal<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(entry) = self.parts.entry(event) else {
            return Ok(());
        };
        let out = &mut self.out;
        match entry {
            Entry::Line {
                level,
                machine,
                message,
                ..
            } => match level {
                LogLevel::Debug => lines(out, machine, DIM, &message),
                LogLevel::TestError => {
                    for line in sanitized_lines(&message) {
                        writeln!(out, "{}{ALARM}!!! {ALARM:#}{line}", prefix(machine))?;
                    }
                    if message.is_empty() {
                        writeln!(out, "{ALARM}!!! {ALARM:#}")?;
                    }
                    Ok(())
                }
                _ => lines(out, machine, Style::new(), &message),
            },
            Entry::Console { machine, line } => {
                for line in sanitized_lines(line) {
                    writeln!(out, "{DIM}{machine} # {line}{DIM:#}")?;
                }
                Ok(())
            }
            Entry::Began {
                machine,
                message,
                subtest,
                ..
            } => lines(out, machine, PART, &title(message, subtest)),
            Entry::Ended { error: Some(_), .. } => Ok(()),
            Entry::Ended {
                machine,
                part,
                seconds,
                ..
            } => lines(out, machine, Style::new(), &finished(&part, seconds)),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn prefix(machine: Option<&str>) -> String {
    machine.map_or_else(String::new, |machine| format!("{machine}: "))
}

fn lines(out: &mut impl Write, machine: Option<&str>, style: Style, text: &str) -> io::Result<()> {
    let mut prefix = prefix(machine);
    let mut any = false;
    for line in sanitized_lines(text) {
        writeln!(out, "{prefix}{style}{line}{style:#}")?;
        prefix.clear();
        any = true;
    }
    if !any {
        writeln!(out, "{prefix}")?;
    }
    Ok(())
}
