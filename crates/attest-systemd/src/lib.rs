//! systemd of a guest, seen from the host: states, waits, jobs, the boot's times, the journal.
//!
//! It speaks D-Bus over a stream of bytes to the private socket of a manager, which is there
//! from the first moment of the boot, needs no bus and sends every signal unasked. How the
//! stream gets there is the caller's business: this crate knows no machines.
//!
//! [`Manager`] is the way in. [`journal`] reads the journal's export format. [`detect`] tells
//! what runs where systemd does not.

mod boot;
mod dbus;
pub mod detect;
mod error;
mod failure;
#[cfg(test)]
mod fake;
mod files;
mod job;
pub mod journal;
mod manager;
mod name;
mod near;
mod properties;
mod show;
mod signal;
mod state;
mod status;
mod units;
mod value;
mod wait;

pub use boot::{BootBreakdown, Startup, UnitTime};
pub use error::{Error, Lost};
pub use failure::{WaitEnd, WaitFailure};
pub use files::FileChange;
pub use job::{Job, JobFailure, KillWhom, Mode};
pub use manager::{Manager, SYSTEM_SOCKET, user_socket};
pub use name::unit_name;
pub use properties::Properties;
pub use state::{ActiveState, JobResult, LoadState, SystemState};
pub use status::{MainExit, UnitStatus};
pub use units::{JobEntry, UnitEntry};
pub use value::{Value, Variant};
pub use wait::{Seen, UnitWait};
