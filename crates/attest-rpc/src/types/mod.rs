//! Parameters and results of all methods: the schema is made of these.

mod balloon;
mod lab;
mod log;
mod machine;
mod session;
mod snapshot;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::balloon::{BalloonInfo, Inflate};
pub use self::lab::{
    CreateMachine, LabInfo, LabRef, MachineInfo, NetworkInfo, OpenLab, SetEnvironment, VlanInfo,
};
pub use self::log::{LogBegin, LogEnd, LogLevelSet, LogLine, LogSerial};
pub use self::machine::{
    Answered, Chars, Connect, Connected, Console, ConsolePart, Copied, Copy, Ended, Events,
    EventsFrom, Exec, Executed, Forward, Keys, Link, MachineState, Met, Monitor, Monitored, Qmp,
    Screen, ScreenText, Screenshot, Start, StartedInfo, StderrUse, Target, Texts, Unit, UnitInfo,
    Wait, WaitEnded, WaitUnit,
};
pub use self::session::{
    Cancel, Description, Hello, HelloAnswer, Part, PartKind, Script, ScriptEnd, ScriptOutcome,
    Surface,
};
pub use self::snapshot::{ForkLab, RestoreLab, SnapshotInfo, SnapshotRef};

/// No parameters, or no result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A time, in seconds; not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
pub struct Seconds(#[schemars(range(min = 0.0))] f64);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        Duration::try_from_secs_f64(seconds)
            .map(|_| Self(seconds))
            .map_err(|error| format!("{seconds} is no number of seconds: {error}"))
    }
}

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs_f64())
    }
}

impl Seconds {
    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }
}

/// What stands for no time-out, so that it can be added to an instant: a hundred years.
pub const FOREVER: Duration = Duration::from_hours(100 * 365 * 24);

/// A time-out: `null` is none.
pub fn limit(timeout: Option<Seconds>) -> Duration {
    timeout.map_or(FOREVER, Seconds::duration).min(FOREVER)
}

pub(crate) fn first_lab() -> u32 {
    1
}
