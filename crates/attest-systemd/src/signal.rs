//! The signals of systemd that matter here, in as many bytes as they need.

use crate::dbus::{Malformed, Message};
use crate::state::UnitState;
use crate::value::Value;

pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(crate) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(crate) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNITS: &str = "/org/freedesktop/systemd1/unit/";

/// Bytes of a unit's name: systemd's own limit.
const LONGEST_NAME: usize = 255;
/// A name as a path: every character may take three.
const LONGEST_PATH: usize = UNITS.len() + 3 * LONGEST_NAME;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Signal {
    /// The unit with this path changed. Without a state when the signal does not say all of it.
    Unit {
        path: String,
        state: Option<UnitState>,
    },
    /// This unit was loaded. It may have been in any state by then.
    UnitNew { unit: String },
    /// This job was queued.
    JobNew { id: u32 },
    /// This job ended.
    JobRemoved {
        id: u32,
        unit: String,
        result: String,
    },
    /// The manager has nothing left to do for the first time.
    StartupFinished,
    /// The manager has read all units anew.
    Reloaded,
}

impl Signal {
    /// What a message says, if it matters.
    pub(crate) fn read(message: &Message) -> Result<Option<Self>, Malformed> {
        let signal = match (message.interface.as_str(), message.member.as_str()) {
            (PROPERTIES, "PropertiesChanged") if message.path.starts_with(UNITS) => {
                // Those of services and mounts are larger and come first: their end is this one.
                if message.first_text() != Some(UNIT) {
                    return Ok(None);
                }
                unit(message)?
            }
            (MANAGER, member) => manager(member, message)?,
            _ => return Ok(None),
        };
        match &signal {
            Some(Self::Unit { path, .. }) if path.len() > LONGEST_PATH => {
                Err(Malformed("a path of more bytes than any unit has"))
            }
            Some(Self::UnitNew { unit: name } | Self::JobRemoved { unit: name, .. })
                if name.len() > LONGEST_NAME =>
            {
                Err(Malformed("a name of more bytes than any unit has"))
            }
            _ => Ok(signal),
        }
    }
}

fn unit(message: &Message) -> Result<Option<Signal>, Malformed> {
    const WRONG: Malformed = Malformed("a signal of other values than it has");
    let values = message.values()?;
    let [Value::Text(_), Value::Dict(changed), Value::Array(_)] = values.as_slice() else {
        return Err(WRONG);
    };
    let path = message.path.clone();
    let state = UnitState::of_changes(changed);
    Ok(Some(Signal::Unit { path, state }))
}

fn manager(member: &str, message: &Message) -> Result<Option<Signal>, Malformed> {
    if !matches!(
        member,
        "UnitNew" | "JobNew" | "JobRemoved" | "StartupFinished" | "Reloading"
    ) {
        return Ok(None);
    }
    let mut values = message.values()?;
    let signal = match (member, values.as_mut_slice()) {
        ("UnitNew", [Value::Text(unit), Value::Path(_)]) => Signal::UnitNew {
            unit: std::mem::take(unit),
        },
        ("JobNew", [Value::U32(id), Value::Path(_), Value::Text(_)]) => Signal::JobNew { id: *id },
        (
            "JobRemoved",
            [
                Value::U32(id),
                Value::Path(_),
                Value::Text(unit),
                Value::Text(result),
            ],
        ) => {
            let mut result = std::mem::take(result);
            // The longest of systemd's is `unsupported`.
            result.truncate(result.floor_char_boundary(32));
            result.shrink_to_fit();
            Signal::JobRemoved {
                id: *id,
                unit: std::mem::take(unit),
                result,
            }
        }
        ("StartupFinished", _) => Signal::StartupFinished,
        ("Reloading", [Value::Bool(false)]) => Signal::Reloaded,
        ("Reloading", [Value::Bool(true)]) => return Ok(None),
        _ => return Err(Malformed("a signal of other values than it has")),
    };
    Ok(Some(signal))
}
