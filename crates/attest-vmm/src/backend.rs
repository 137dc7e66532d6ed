//! What builds machines.

use std::fmt;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::{BoxFuture, Launcher, MachineConfig, Running, VmmError};

/// A way to run machines.
pub trait Backend: fmt::Debug + Send + Sync {
    /// As in the manifest: `qemu`.
    fn name(&self) -> &'static str;

    /// Refuse what this backend cannot do, before anything starts.
    fn check(&self, machine: &MachineConfig) -> Result<(), VmmError>;

    /// Start the machine where the launcher starts programs, usually inside a lab. Returns when
    /// the VMM has taken its configuration and the virtual CPUs run; the guest has not booted by
    /// then.
    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        launcher: &'a dyn Launcher,
    ) -> BoxFuture<'a, Result<Started, VmmError>>;
}

/// A machine that was started.
#[derive(Debug)]
pub struct Started {
    /// The machine.
    pub running: Box<dyn Running>,
    /// The byte stream to its agent. It outlives reboots of the guest.
    pub agent: UnixStream,
    /// The serial console, from the first byte; writable. It has to be read, or the guest waits
    /// whenever it prints.
    pub console: UnixStream,
    /// Choices made for it, for events: what, choice, reason.
    pub chosen: Vec<Choice>,
    /// From the request to the VMM's exec, and from there to running CPUs.
    pub timings: StartTimings,
}

/// A choice and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What was chosen, as `accelerator`.
    pub what: &'static str,
    /// The choice.
    pub choice: String,
    /// Why.
    pub reason: String,
}

/// The VMM's own part of a start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartTimings {
    /// Up to the VMM's exec.
    pub prepare: Duration,
    /// The VMM's exec to running CPUs.
    pub vmm: Duration,
}
