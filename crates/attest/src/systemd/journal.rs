//! What units wrote: the end of a unit's journal, for the failure that it explains.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use attest_events::{JournalTail, priority_prefix};
use attest_systemd::journal::{Entry, Parser, last, last_of_user};
use futures_util::future::join_all;

use super::{Whose, connect};
use crate::lab::Lab;
use crate::machine::Machine;

/// Lines that a failure shows of a unit.
const LINES: u32 = 20;
/// Bytes of a message, in events and failures; the machine's own journal has all.
const LONGEST: usize = 4 * 1024;
/// Bytes that the journal may print for so many lines, with all their fields.
const PRINTED: usize = 4 * 1024 * 1024;
/// A failure waits no longer for the journal that explains it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The process of the system's manager.
const SYSTEMD: u32 = 1;
/// Units whose last lines are kept for a machine that can say them no more: 5 MB at most.
const KEPT: usize = 64;

/// The end of a unit's journal.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) tail: JournalTail,
    /// What the unit said last itself, where that is known from what systemd said of it.
    pub(super) words: Option<String>,
}

/// The last lines of a machine's units, as far as they came.
#[derive(Debug, Default)]
pub(crate) struct Journals(Mutex<HashMap<String, VecDeque<String>>>);

impl Journals {
    pub(super) fn keep(&self, entry: &Entry) {
        let mut units = self.0.lock().expect("not poisoned");
        if units.len() == KEPT && !units.contains_key(&entry.source) {
            return;
        }
        let lines = units.entry(entry.source.clone()).or_default();
        if lines.len() == LINES as usize {
            lines.pop_front();
        }
        lines.push_back(line(entry));
    }

    fn of(&self, unit: &str) -> Vec<String> {
        let units = self.0.lock().expect("not poisoned");
        let lines = units.get(unit).into_iter().flatten();
        lines.cloned().collect()
    }
}

/// What the units wrote last that the test has to do with, but for those that are known.
pub(crate) async fn tails(lab: &Lab, known: &[JournalTail]) -> Vec<JournalTail> {
    let is_new = |machine: &str, unit: &str| {
        let mut known = known.iter();
        !known.any(|tail| tail.machine == machine && tail.unit == unit)
    };
    let touched = lab.recorder().touched().into_iter();
    let wanted = touched.filter(|(machine, _, unit)| is_new(machine, unit));
    let tails = wanted.map(|(machine, whose, unit)| async move {
        let tail = tail(&lab.machine(&machine).ok()?, &whose, &unit).await?;
        Some(tail.tail)
    });
    join_all(tails).await.into_iter().flatten().collect()
}

/// The end of a unit's journal, if it has any.
pub(super) async fn tail(machine: &Machine, whose: &Whose, unit: &str) -> Option<Tail> {
    let asked = async {
        let is_ready = machine.is_ready();
        let printed = tokio::time::timeout(PATIENCE, print(machine, whose, unit));
        if is_ready { printed.await.ok()? } else { None }
    };
    let entries = asked.await.map(|printed| entries(&printed));
    let words = entries.as_deref().and_then(last_words);
    let lines = match entries {
        Some(entries) => entries.iter().map(line).collect(),
        None => machine.inner.journals.of(unit),
    };
    (!lines.is_empty()).then(|| Tail {
        tail: JournalTail {
            machine: machine.name().to_owned(),
            unit: unit.to_owned(),
            lines,
        },
        words,
    })
}

fn last_words(entries: &[Entry]) -> Option<String> {
    let is_own = |entry: &&Entry| entry.pid.is_some_and(|pid| pid != SYSTEMD);
    let own = entries.iter().rev().find(is_own)?;
    Some(short(own).into_owned())
}

async fn print(machine: &Machine, whose: &Whose, unit: &str) -> Option<Vec<u8>> {
    // What was written a moment ago is on its way to the journal.
    let sync = machine.exec(["journalctl", "--sync"]).spawn().await.ok()?;
    sync.wait().await.ok()?;
    let command = match whose {
        Whose::System => last(unit, LINES),
        Whose::User(user) => last_of_user(connect::uid(machine, user).await.ok()?, unit, LINES),
    };
    let command = machine.exec(command).spawn().await.ok()?;
    command.printed(PRINTED).await.ok()
}

fn entries(printed: &[u8]) -> Vec<Entry> {
    let mut parser = Parser::new();
    let mut entries = parser.push(printed);
    entries.extend(parser.finish());
    entries
}

/// An entry as a line: seconds since the kernel started, the priority if it matters, the message.
fn line(entry: &Entry) -> String {
    let seconds = Duration::from_micros(entry.monotonic_us).as_secs_f64();
    format!(
        "{seconds:.6} {}{}",
        priority_prefix(entry.priority),
        short(entry)
    )
}

/// The message, cut where it is longer than anybody reads.
pub(super) fn short(entry: &Entry) -> Cow<'_, str> {
    let message = &entry.message[..entry.message.floor_char_boundary(LONGEST)];
    if message.len() < entry.message.len() || entry.cut {
        Cow::Owned(format!("{message} …"))
    } else {
        Cow::Borrowed(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: &str, message: &str) -> Entry {
        Entry {
            source: source.to_owned(),
            message: message.to_owned(),
            monotonic_us: 1_500_000,
            priority: 3,
            ..Entry::default()
        }
    }

    #[test]
    fn the_last_lines_of_a_unit_are_kept_and_no_more() {
        let journals = Journals::default();
        for number in 0..=LINES {
            journals.keep(&entry("a.service", &number.to_string()));
        }
        let lines = journals.of("a.service");
        assert_eq!(lines.len(), LINES as usize);
        assert_eq!(lines[0], "1.500000 error: 1");
        for number in 0..2 * KEPT {
            journals.keep(&entry(&format!("{number}.service"), "x"));
        }
        assert_eq!(journals.0.lock().unwrap().len(), KEPT);
        assert!(journals.of("nonesuch.service").is_empty());
    }

    #[test]
    fn the_words_of_a_unit_are_not_those_of_systemd() {
        let said = |message: &str, pid| Entry {
            pid,
            ..entry("a.service", message)
        };
        let entries = [
            said("Starting", Some(1)),
            said("first", Some(7)),
            said("on fire", Some(7)),
            said("Failed", Some(1)),
            said("of nobody", None),
        ];
        assert_eq!(last_words(&entries).as_deref(), Some("on fire"));
        assert_eq!(last_words(&entries[..1]), None);
    }

    #[test]
    fn a_long_message_is_cut_at_a_whole_character() {
        let long = "é".repeat(LONGEST);
        let line = line(&entry("a", &long));
        assert!(line.ends_with("é …"), "{}", &line[line.len() - 8..]);
        assert!(line.len() < LONGEST + 64);
    }
}
