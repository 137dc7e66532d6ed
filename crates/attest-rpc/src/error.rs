//! Errors as a client sees them.

use attest::events::Verdict;
use attest::{Error, QmpError, chain};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// What kind of error a call ended with, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// A command did not end as was demanded.
    Command,
    /// Time ran out.
    TimedOut,
    /// A unit will not come to the state that was waited for. Detail: `unit`, `state`.
    Unit,
    /// The machine is off, has ended, or did not boot.
    Machine,
    /// The machine's backend cannot do it, or the machine was not given what it takes.
    Unsupported,
    /// The machine was saved, or put back, in the middle of it.
    Interrupted,
    /// An argument is wrong.
    Usage,
    /// The client cancelled the call.
    Cancelled,
    /// Everything else.
    Infrastructure,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq)]
pub enum RpcError {
    /// What was sent cannot be read; the server closes.
    Unreadable(String),
    /// There is no such method.
    UnknownMethod(String),
    /// The parameters are not those of the method.
    Params(String),
    /// The first call has to be `hello`.
    Stranger,
    /// The call failed.
    Failed {
        /// For programs.
        kind: ErrorKind,
        /// One line for people.
        message: String,
        /// The machine that it is about.
        machine: Option<String>,
        /// For waits: what was seen last.
        last_seen: Option<String>,
        /// What else programs may want, by kind.
        detail: Option<Value>,
    },
}

impl RpcError {
    /// A failure of this kind.
    pub fn failed(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Failed {
            kind,
            message: message.into(),
            machine: None,
            last_seen: None,
            detail: None,
        }
    }

    /// A wrong argument.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::failed(ErrorKind::Usage, message)
    }

    /// The same, of this machine.
    #[must_use]
    pub(crate) fn of(mut self, name: &str) -> Self {
        if let Self::Failed { machine, .. } = &mut self {
            *machine = Some(name.to_owned());
        }
        self
    }

    pub(crate) fn cancelled() -> Self {
        Self::failed(ErrorKind::Cancelled, "the call was cancelled")
    }

    /// As JSON-RPC has it.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Unreadable(reason) => json!({ "code": -32700, "message": reason }),
            Self::Stranger => {
                json!({ "code": -32600, "message": "the first call has to be `hello`" })
            }
            Self::UnknownMethod(name) => {
                json!({ "code": -32601, "message": format!("there is no method `{name}`") })
            }
            Self::Params(reason) => json!({ "code": -32602, "message": reason }),
            Self::Failed {
                kind,
                message,
                machine,
                last_seen,
                detail,
            } => {
                let mut data = json!({ "kind": kind });
                let members = [
                    ("machine", machine.clone().map(Value::from)),
                    ("last_seen", last_seen.clone().map(Value::from)),
                    ("detail", detail.clone()),
                ];
                for (name, value) in members {
                    if let Some(value) = value {
                        data[name] = value;
                    }
                }
                json!({ "code": -32000, "message": message, "data": data })
            }
        }
    }
}

impl From<Error> for RpcError {
    fn from(error: Error) -> Self {
        Self::Failed {
            kind: kind(&error),
            message: error.chain(),
            machine: error.machine().map(str::to_owned),
            last_seen: last_seen(&error),
            detail: detail(&error),
        }
    }
}

fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::Systemd(failure) => match &failure.error {
            attest::systemd::ManagerError::Wait(_) => ErrorKind::Unit,
            attest::systemd::ManagerError::UnitName { .. } => ErrorKind::Usage,
            _ => ErrorKind::Infrastructure,
        },
        Error::MachineOff { .. }
        | Error::MachineEnded { .. }
        | Error::BootTimedOut { .. }
        | Error::AgentLost { .. }
        | Error::SetUp { .. } => ErrorKind::Machine,
        Error::Superseded { .. } => ErrorKind::Interrupted,
        Error::Unsupported { .. } | Error::NoBalloon { .. } | Error::Unsavable { .. } => {
            ErrorKind::Unsupported
        }
        Error::UnknownMachine { .. } | Error::UnknownImage { .. } | Error::Manifest(_) => {
            ErrorKind::Usage
        }
        Error::Assertion(_) | Error::TooLong { .. } | Error::Key { .. } => ErrorKind::Usage,
        Error::Command(_)
        | Error::Qmp {
            source: QmpError::Refused { .. },
            ..
        } => ErrorKind::Command,
        error if error.verdict() == Verdict::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Infrastructure,
    }
}

fn last_seen(error: &Error) -> Option<String> {
    match error {
        Error::TimedOut { last_seen, .. } => last_seen.clone(),
        _ => None,
    }
}

fn detail(error: &Error) -> Option<Value> {
    if let Error::Qmp {
        source: QmpError::Refused {
            class, description, ..
        },
        ..
    } = error
    {
        return Some(json!({ "class": class, "desc": description }));
    }
    let Error::Systemd(failure) = error else {
        return None;
    };
    let attest::systemd::ManagerError::Wait(wait) = &failure.error else {
        return None;
    };
    Some(json!({
        "unit": wait.unit,
        "state": wait.status.active.to_string(),
        "last_words": failure.last_words,
        "chain": chain(&failure.error),
    }))
}
