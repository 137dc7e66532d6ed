//! What every machine of QEMU can be asked, whoever started it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::human_monitor::HumanMonitor;
use crate::monitor::{Events, Monitor};
use crate::qmp::{Qmp, QmpError};
use crate::{BoxFuture, InPlace, Pause, VmmError};

/// The way to the monitor for people.
#[derive(Debug)]
pub(crate) enum Human {
    /// A command of the machine protocol.
    ByQmp,
    /// A socket of its own.
    Own(HumanMonitor),
}

/// A QEMU's monitors.
#[derive(Debug)]
pub(crate) struct Control {
    /// The machine's.
    pub(crate) name: String,
    pub(crate) qmp: Arc<Qmp>,
    pub(crate) human: Human,
    pub(crate) events: Arc<Events>,
    /// Whether it was started so that resets boot the guest again: then it stays so.
    pub(crate) always_reboots: bool,
}

impl Control {
    fn checked<T>(&self, result: Result<T, QmpError>) -> Result<T, VmmError> {
        result.map_err(|source| VmmError::Monitor {
            machine: self.name.clone(),
            source,
        })
    }
}

impl Monitor for Control {
    fn human<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<String, VmmError>> {
        Box::pin(async move {
            let answer = match &self.human {
                Human::ByQmp => {
                    let arguments = json!({ "command-line": command });
                    let text = self.qmp.command("human-monitor-command", arguments).await;
                    text.map(|text| text.as_str().unwrap_or_default().to_owned())
                }
                // Whatever broke: nobody but QEMU has the other end.
                Human::Own(monitor) => {
                    let text = monitor.command(command).await;
                    text.map_err(|_| QmpError::Closed)
                }
            };
            self.checked(answer)
        })
    }

    fn execute<'a>(
        &'a self,
        command: &'a str,
        arguments: Value,
    ) -> BoxFuture<'a, Result<Value, QmpError>> {
        Box::pin(self.qmp.command(command, arguments))
    }

    fn events(&self, from: u64) -> (Vec<Value>, u64) {
        self.events.since(from)
    }

    fn events_grown(&self, from: u64) -> BoxFuture<'_, ()> {
        self.events.grown(from)
    }
}

impl InPlace for Control {
    fn allow_reboot(&self, allow: bool) -> BoxFuture<'_, Result<(), VmmError>> {
        let allow = allow || self.always_reboots;
        Box::pin(async move { self.checked(self.qmp.set_reboot(allow).await) })
    }
}

impl Pause for Control {
    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move { self.checked(self.qmp.stop().await) })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move { self.checked(self.qmp.cont().await) })
    }
}
