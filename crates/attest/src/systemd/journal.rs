//! What units wrote: the end of a unit's journal, for the failure that it explains.

use std::time::Duration;

use attest_events::JournalTail;
use attest_systemd::journal::{Entry, Parser, last, last_of_user};

use super::{Whose, connect};
use crate::machine::Machine;

/// Lines that a failure shows of a unit.
const LINES: u32 = 20;
/// Bytes of a message that a failure shows.
const LONGEST: usize = 2 * 1024;
/// Bytes that the journal may print for so many lines, with all their fields.
const PRINTED: usize = 4 * 1024 * 1024;
/// A failure waits no longer for the journal that explains it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The end of a unit's journal, if the machine can still say it.
pub(super) async fn tail(machine: &Machine, whose: &Whose, unit: &str) -> Option<JournalTail> {
    if !machine.is_ready() {
        return None;
    }
    let printed = tokio::time::timeout(PATIENCE, print(machine, whose, unit)).await;
    let printed = printed.ok()??;
    let mut parser = Parser::new();
    let mut entries = parser.push(&printed);
    entries.extend(parser.finish());
    Some(JournalTail {
        machine: machine.name().to_owned(),
        unit: unit.to_owned(),
        lines: entries.iter().map(line).collect(),
    })
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

/// An entry as a line: seconds since the kernel started, the priority if it matters, the message.
fn line(entry: &Entry) -> String {
    let seconds = Duration::from_micros(entry.monotonic_us).as_secs_f64();
    let message = &entry.message[..entry.message.floor_char_boundary(LONGEST)];
    let cut = if message.len() < entry.message.len() || entry.cut {
        " …"
    } else {
        ""
    };
    format!("{seconds:.6} {}{message}{cut}", weight(entry.priority))
}

/// The names are those of syslog(3).
fn weight(priority: u8) -> &'static str {
    match priority {
        0 => "emergency: ",
        1 => "alert: ",
        2 => "critical: ",
        3 => "error: ",
        4 => "warning: ",
        _ => "",
    }
}
