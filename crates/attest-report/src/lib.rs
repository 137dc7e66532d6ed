//! What a run looks like to those who watch it: each output is a [`Reader`] of the same events,
//! and none is special.
//!
//! ```
//! use attest_report::{JsonLines, Look, Reader, Readers, Terminal, Verbosity};
//!
//! let mut readers = Readers::new();
//! readers.add(Terminal::new(std::io::stderr(), Look::plain(), Verbosity::Normal));
//! readers.add(JsonLines::new(Vec::new()));
//! // For each event of the run: readers.event(&event)?;
//! readers.finish()?;
//! # std::io::Result::Ok(())
//! ```

mod failure;
mod human;
mod json_lines;
mod junit;
mod live;
mod look;
mod merge;
mod nixos;
mod profile;
mod reader;
mod sanitize;
mod shards;
mod system;
mod table;
mod terminal;
mod timeline;

#[cfg(test)]
mod sample;

pub use self::human::duration;
pub use self::json_lines::JsonLines;
pub use self::junit::Junit;
pub use self::look::{LiveOn, Look};
pub use self::merge::{Duplicates, MergeError, merge_junit};
pub use self::nixos::{NixosJunit, NixosTerminal, NixosXml};
pub use self::profile::{
    OperationTimes, Own, PartTime, Processes, Profile, Profiler, RowTime, Saving, SlowBoot,
    SlowOperation, WhoTime,
};
pub use self::reader::{Reader, Readers};
pub use self::sanitize::{sanitize, sanitized_lines};
pub use self::shards::{JunitShard, merge_shards};
pub use self::terminal::{Terminal, Verbosity};
pub use self::timeline::Timeline;
