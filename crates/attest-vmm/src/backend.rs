//! What builds machines.

use std::fmt;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::{
    Ability, AgentListener, BoxFuture, Launcher, MachineConfig, Running, VmmError, Wanted,
};

/// A way to run machines.
pub trait Backend: fmt::Debug + Send + Sync {
    /// As in the manifest: `qemu`.
    fn name(&self) -> &'static str;

    /// Why it does not have this ability; `None` when it has.
    fn lacks(&self, ability: Ability) -> Option<&'static str>;

    /// Whether this host can run such a machine with it: programs, rights, accelerators.
    fn host(&self, wanted: &Wanted) -> Result<(), VmmError>;

    /// Refuse what this backend or this host cannot do, before anything starts.
    fn check(&self, wanted: &Wanted) -> Result<(), VmmError> {
        for ability in &wanted.abilities {
            if let Some(reason) = self.lacks(*ability) {
                return Err(VmmError::Lacks {
                    machine: wanted.machine.clone(),
                    backend: self.name(),
                    ability: ability.name(),
                    reason,
                });
            }
        }
        self.host(wanted)
    }

    /// What of this host decides whether a machine that was saved elsewhere, or earlier, can go on: names and values,
    /// for comparing. Nothing where nothing is saved.
    fn identity<'a>(
        &'a self,
        wanted: &'a Wanted,
    ) -> BoxFuture<'a, Result<Vec<(&'static str, String)>, VmmError>> {
        let _ = wanted;
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The user that the machine's VMM becomes in a jail: what it needs on the host is prepared for that user. `None`:
    /// it is in no jail.
    ///
    /// # Errors
    /// A jail is required, and cannot be had.
    fn jailed_as(&self, wanted: &Wanted) -> Result<Option<u32>, VmmError> {
        let _ = wanted;
        Ok(None)
    }

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
    /// The way to its agent.
    pub agent: AgentStreams,
    /// The serial console, from the first byte; writable. It has to be read, or the guest waits
    /// whenever it prints.
    pub console: UnixStream,
    /// Choices made for it, for events: what, choice, reason.
    pub chosen: Vec<Choice>,
    /// From the request to the VMM's exec, and from there to running CPUs.
    pub timings: StartTimings,
}

/// The byte streams to an agent.
#[derive(Debug)]
pub enum AgentStreams {
    /// One, which outlives reboots of the guest.
    One(UnixStream),
    /// One after the other, as the agent begins them.
    Many(AgentListener),
}

/// What is to be told of a machine while it starts and runs. Few backends tell something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A choice, made only now.
    Chosen(Choice),
    /// How long its guest took to boot, as its VMM measured it.
    Booted(Duration),
    /// A line that its start script, or what that started, wrote to stderr.
    Words(String),
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
