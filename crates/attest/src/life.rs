//! How a machine's starts and ends are seen from outside.

use std::path::Path;

use attest_events::MachineEnding;
use attest_manifest::ScriptPlan;

use crate::boot::Start;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::session::State;

/// A connection to what runs commands in a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Another number for each boot of the guest, and whenever its agent or its shell begins anew.
    pub token: u64,
    /// Whether it is attest's agent; else a root shell that is there for tests.
    pub is_agent: bool,
}

impl Machine {
    /// As [`Machine::start`], and a reset by the guest boots it again where `allow_reboot`; else it
    /// ends the machine, as everywhere. Whether it was this call that started it.
    ///
    /// Only machines by start scripts have to know it before; others are rebooted by
    /// [`Machine::reboot`].
    pub async fn start_with(&self, allow_reboot: bool) -> Result<bool> {
        let how = Start {
            allow_reboot,
            ..Start::FRESH
        };
        self.start_as(how).await
    }

    /// Start it if it is off, and wait until commands can run; with `after`, the token of a session,
    /// until there is another.
    pub async fn connect(&self, after: Option<u64>) -> Result<Session> {
        self.start().await?;
        let ready = self
            .session()
            .ready_where(|ready| Some(ready.hello.nonce) != after)
            .await?;
        Ok(ready.session())
    }

    /// The session, if commands can run now.
    pub fn connection(&self) -> Option<Session> {
        match &*self.session().state.borrow() {
            State::Ready(ready) => Some(ready.session()),
            _ => None,
        }
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&self) -> bool {
        !matches!(
            *self.session().state.borrow(),
            State::Off | State::Ended(..)
        )
    }

    /// The VMM's process number on the host, while the machine runs: for fault injection.
    pub async fn vmm_pid(&self) -> Option<u32> {
        self.inner
            .live
            .lock()
            .await
            .as_ref()
            .map(|live| live.running.pid())
    }

    /// Resolves when the machine has ended by itself, with how.
    pub async fn ended(&self) -> Error {
        let mut state = self.session().state.subscribe();
        let over = state
            .wait_for(|state| matches!(state, State::Ended(..) | State::Off))
            .await;
        let over = over.expect("the sender lives in self");
        self.ending_of(&over).unwrap_or_else(|| self.off())
    }

    /// How it ended by itself, if it did.
    pub(crate) fn ending(&self) -> Option<Error> {
        self.ending_of(&self.session().state.borrow())
    }

    fn ending_of(&self, state: &State) -> Option<Error> {
        let State::Ended(ending, detail) = state else {
            return None;
        };
        Some(Error::MachineEnded {
            machine: self.name().to_owned(),
            ending: *ending,
            detail: detail.to_string(),
        })
    }

    /// Resolves when it does not run, with how it ended; `None` where attest ended it, or never
    /// started it.
    pub async fn wait_ended(&self) -> Option<MachineEnding> {
        let mut states = self.session().state.subscribe();
        let over = states
            .wait_for(|state| matches!(state, State::Off | State::Ended(..)))
            .await;
        match *over.expect("the sender lives in self") {
            State::Ended(ending, _) => Some(ending),
            _ => None,
        }
    }

    /// The directory of a machine by a start script, with its sockets and what it writes.
    pub fn state_dir(&self) -> Option<&Path> {
        self.script().map(|script| script.state.as_path())
    }

    /// The directory that all machines by start scripts share with the host.
    pub fn shared_dir(&self) -> Option<&Path> {
        self.script().map(|script| script.shared.as_path())
    }

    /// What starts it, where that is a script.
    pub fn start_command(&self) -> Option<&str> {
        self.script().map(|script| script.command.as_str())
    }

    fn script(&self) -> Option<&ScriptPlan> {
        self.plan().script.as_ref()
    }
}
