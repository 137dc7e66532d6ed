//! What guests with systemd say of themselves: their journals, and the times of their boots.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The end of the journal of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalTail {
    /// Where.
    pub machine: String,
    /// The unit.
    pub unit: String,
    /// The last lines, oldest first: seconds since the guest's kernel started, the priority where
    /// it is a warning or worse, and the message.
    pub lines: Vec<String>,
}

/// Where the time of a boot went, by the guest's own clock, as its systemd says. What the guest
/// has not (a container has no kernel that boots) is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootTimes {
    /// Of the firmware, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_ns: Option<u64>,
    /// Of the boot loader, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader_ns: Option<u64>,
    /// From the kernel's start to that of systemd, nanoseconds: what attest's agent does before
    /// the system's init is part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_ns: Option<u64>,
    /// Of an initrd with a systemd of its own, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_ns: Option<u64>,
    /// From systemd's start to the first instant without a job, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userspace_ns: Option<u64>,
    /// The units that took longest to start, the slowest first.
    pub slowest: Vec<UnitTime>,
}

/// How long a unit took to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitTime {
    /// Its name.
    pub unit: String,
    /// When it began, nanoseconds since the guest's kernel started.
    pub began_ns: u64,
    /// From then until it was active, nanoseconds.
    pub took_ns: u64,
}

/// What stands before a message of this priority of the journal: the word of syslog(3) and a
/// colon, from warnings up; else nothing.
pub const fn priority_prefix(priority: u8) -> &'static str {
    match priority {
        0 => "emergency: ",
        1 => "alert: ",
        2 => "critical: ",
        3 => "error: ",
        4 => "warning: ",
        _ => "",
    }
}
