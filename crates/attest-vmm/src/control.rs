//! What every machine of QEMU can be asked, whoever started it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::human_monitor::HumanMonitor;
use crate::monitor::Monitor;
use crate::qmp::{Qmp, QmpError};
use crate::{BoxFuture, InPlace, Pause, Saved, Saves, VmmError};

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
        self.qmp.events().since(from)
    }

    fn events_grown(&self, from: u64) -> BoxFuture<'_, ()> {
        self.qmp.events().grown(from)
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

/// The name under which QEMU has the file of a state.
const STATE: &str = "attest-state";
/// Bytes a second: more than any host writes. QEMU's default is made for networks: 128 MiB/s.
const UNLIMITED: u64 = 1 << 40;

impl Saves for Control {
    fn save(&self, to: OwnedFd, what: Saved) -> BoxFuture<'_, Result<Option<File>, VmmError>> {
        Box::pin(async move {
            let saved = self.migrate("migrate", to, what).await;
            self.checked(saved).map(|()| None)
        })
    }

    fn load(&self, from: OwnedFd, what: Saved) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            let loaded = self.migrate("migrate-incoming", from, what).await;
            self.checked(loaded)
        })
    }
}

impl Control {
    async fn migrate(&self, command: &str, file: OwnedFd, what: Saved) -> Result<(), QmpError> {
        let capability = |name: &str, state: bool| json!({ "capability": name, "state": state });
        let capabilities = [
            // Its end is told, so that nobody has to ask for it.
            capability("events", true),
            capability("x-ignore-shared", what == Saved::Devices),
        ];
        let capabilities = json!({ "capabilities": capabilities });
        self.qmp
            .command("migrate-set-capabilities", capabilities)
            .await?;
        let parameters = json!({ "max-bandwidth": UNLIMITED });
        self.qmp
            .command("migrate-set-parameters", parameters)
            .await?;
        self.qmp.pass(STATE, file).await?;
        let (_, from) = self.qmp.events().since(u64::MAX);
        let place = json!({ "uri": format!("fd:{STATE}") });
        self.qmp.command(command, place).await?;
        tokio::select! {
            biased;
            ended = self.migrated(from) => ended,
            closed = self.qmp.closed() => Err(closed),
        }
    }

    /// Until the migration that began after this position of the events has ended.
    async fn migrated(&self, mut from: u64) -> Result<(), QmpError> {
        loop {
            self.qmp.events().grown(from).await;
            let (events, next) = self.qmp.events().since(from);
            from = next;
            let migration = events.iter().filter(|event| event["event"] == "MIGRATION");
            for event in migration {
                match event["data"]["status"].as_str() {
                    Some("completed") => return Ok(()),
                    Some("failed" | "cancelled") => return Err(self.why_it_failed().await),
                    _ => {}
                }
            }
        }
    }

    async fn why_it_failed(&self) -> QmpError {
        let asked = self.qmp.command("query-migrate", json!({})).await;
        let words = asked.ok().and_then(|answer| {
            let words = answer["error-desc"].as_str();
            words.map(str::to_owned)
        });
        QmpError::Refused {
            command: "migrate".to_owned(),
            class: "GenericError".to_owned(),
            description: words.unwrap_or_else(|| "it did not say why".to_owned()),
        }
    }
}
