//! QEMU's monitors, for machines that have them.

use attest_vmm::{Monitor, Running};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::machine::Machine;

/// The name that QEMU gives to a machine's first card on a VLAN, behind that of the user's network.
const VLAN_CARD: &str = "virtio-net-pci.1";

impl Machine {
    /// Give a command to QEMU's monitor for people; the answer as that prints it. Machines by start
    /// scripts answer with echo and prompt, others with the text alone.
    ///
    /// # Errors
    /// The machine is off, or no QEMU.
    pub async fn monitor(&self, command: &str) -> Result<String> {
        let running = self.running().await?;
        Ok(self.monitor_of(&*running)?.human(command).await?)
    }

    /// Give a command to QEMU by its machine protocol (QMP); what it returns.
    ///
    /// # Errors
    /// QEMU refuses it, or the machine is off, or no QEMU.
    pub async fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        let running = self.running().await?;
        let answer = self
            .monitor_of(&*running)?
            .execute(command, arguments)
            .await;
        answer.map_err(|source| Error::Qmp {
            machine: self.name().to_owned(),
            source,
        })
    }

    /// QEMU's events since the machine's start from this position on, whole, and the position after
    /// them; also after its end. The last 4096 are kept.
    ///
    /// # Errors
    /// The machine is off, or no QEMU.
    pub async fn qmp_events(&self, from: u64) -> Result<(Vec<Value>, u64)> {
        let running = self.running().await?;
        Ok(self.monitor_of(&*running)?.events(from))
    }

    /// As [`Machine::qmp_events`], as soon as there are some.
    ///
    /// # Errors
    /// As there, and the machine ends without another event.
    pub async fn wait_for_qmp_events(&self, from: u64) -> Result<(Vec<Value>, u64)> {
        let running = self.running().await?;
        let monitor = self.monitor_of(&*running)?;
        let ended = tokio::select! {
            biased;
            () = monitor.events_grown(from) => None,
            ended = self.ended() => Some(ended),
        };
        let (events, next) = monitor.events(from);
        match ended {
            Some(error) if events.is_empty() => Err(error),
            _ => Ok((events, next)),
        }
    }

    /// Plug the cable of its first card on a VLAN in, or pull it out.
    ///
    /// # Errors
    /// As of [`Machine::monitor`].
    pub async fn link(&self, is_up: bool) -> Result<()> {
        let state = if is_up { "on" } else { "off" };
        self.monitor(&format!("set_link {VLAN_CARD} {state}"))
            .await
            .map(drop)
    }

    fn monitor_of<'a>(&self, running: &'a dyn Running) -> Result<&'a dyn Monitor> {
        running.monitor().ok_or_else(|| Error::Unsupported {
            machine: self.name().to_owned(),
            backend: self.plan().backend.name(),
            ability: "monitor",
            reason: "only QEMU has one",
        })
    }
}
