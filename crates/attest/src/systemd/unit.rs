//! One unit: waiting for its states, starting and stopping it, looking at it.

use std::time::Duration;

use attest_systemd::{ActiveState, Job, Manager, Properties, UnitStatus, UnitWait, unit_name};

use super::journal;
use super::{Systemd, SystemdFailure};
use crate::error::{Error, Result};
use crate::wait::Wait;

/// A unit of a machine. See [`Machine::unit`](crate::Machine::unit).
///
/// ```no_run
/// # use attest::systemd::ActiveState;
/// # async fn f(machine: attest::Machine) -> attest::Result<()> {
/// let nginx = machine.unit("nginx");
/// nginx.wait().await?;
/// nginx.restart().await?;
/// assert_eq!(nginx.state().await?, ActiveState::Active);
/// assert_eq!(nginx.property("Result").await?, "success");
/// # Ok(()) }
/// ```
///
/// Each operation gives up after the lab's time-out of commands and waits, or that of
/// [`Unit::timeout`].
#[derive(Debug, Clone)]
pub struct Unit {
    systemd: Systemd,
    name: String,
}

/// A state of a unit to wait for.
#[derive(Debug, Clone)]
pub(crate) struct UnitCondition {
    unit: Unit,
    goal: UnitGoal,
    patient: bool,
}

/// Which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitGoal {
    State(ActiveState),
    Stopped,
}

impl Unit {
    pub(super) fn new(systemd: Systemd, name: String) -> Self {
        Self { systemd, name }
    }

    /// Its name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Give up after this long, on each of its operations.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.systemd = self.systemd.timeout(timeout);
        self
    }

    /// Wait until it is active. As [`Machine::wait_for_unit`](crate::Machine::wait_for_unit).
    pub fn wait(&self) -> Wait {
        self.wait_for(ActiveState::Active)
    }

    /// Wait until it is in this state. To wait for `inactive` fails at once when it has
    /// `failed`, and the other way round.
    pub fn wait_for(&self, state: ActiveState) -> Wait {
        self.goal(UnitGoal::State(state))
    }

    /// Wait until it is stopped, whether well or because it failed.
    pub fn wait_for_stop(&self) -> Wait {
        self.goal(UnitGoal::Stopped)
    }

    fn goal(&self, goal: UnitGoal) -> Wait {
        let condition = UnitCondition {
            unit: self.clone(),
            goal,
            patient: false,
        };
        Wait::unit(&self.systemd.machine, condition, self.systemd.timeout)
    }

    /// Start it; returns when its job is done.
    pub async fn start(&self) -> Result<()> {
        self.job("start", Manager::start).await
    }

    /// Stop it; returns when its job is done.
    pub async fn stop(&self) -> Result<()> {
        self.job("stop", Manager::stop).await
    }

    /// Stop it if it runs, and start it; returns when its job is done.
    pub async fn restart(&self) -> Result<()> {
        self.job("restart", Manager::restart).await
    }

    /// Let it read its configuration anew; returns when its job is done.
    pub async fn reload(&self) -> Result<()> {
        self.job("reload", Manager::reload).await
    }

    /// Start it, as a target, and stop all that it does not need; returns when its job is done.
    pub async fn isolate(&self) -> Result<()> {
        self.job("isolate", Manager::isolate).await
    }

    /// Forget that it failed, and how often it was started.
    pub async fn reset_failed(&self) -> Result<()> {
        let name = self.name.as_str();
        let reset = |manager: Manager| async move { manager.reset_failed(name).await };
        self.act("reset-failed", reset).await
    }

    /// What it does.
    pub async fn state(&self) -> Result<ActiveState> {
        Ok(self.status().await?.active)
    }

    /// Its state and how it came to it, all of one instant.
    pub async fn status(&self) -> Result<UnitStatus> {
        let name = self.name.as_str();
        let look = |manager: Manager| async move { manager.unit_status(name).await };
        self.act("status", look).await
    }

    /// All its properties, of one instant.
    pub async fn properties(&self) -> Result<Properties> {
        let name = self.name.as_str();
        let look = |manager: Manager| async move { manager.unit_properties(name).await };
        self.act("show", look).await
    }

    /// One property, as `systemctl show --property=NAME --value` prints it, with times in UTC.
    pub async fn property(&self, property: &str) -> Result<String> {
        let name = self.name.as_str();
        let look = |manager: Manager| async move { manager.unit_text(name, property).await };
        self.act("show", look).await
    }

    async fn job(&self, kind: &str, job: fn(&Manager, &str) -> Job) -> Result<()> {
        let name = self.name.as_str();
        let run = |manager: Manager| async move { job(&manager, name).await };
        let done = self.act(kind, run).await;
        self.with_journal(done).await
    }

    async fn act<T, F>(&self, operation: &str, work: impl FnOnce(Manager) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, attest_systemd::Error>>,
    {
        self.touch();
        self.systemd.act(operation, &self.name, work).await
    }

    /// The test has to do with it: its failure shows what the unit wrote.
    fn touch(&self) {
        let machine = &self.systemd.machine;
        if let Ok(name) = unit_name(&self.name) {
            let recorder = &machine.inner.recorder;
            recorder.touch(machine.name(), self.systemd.whose.clone(), name);
        }
    }

    /// What the unit wrote last, beside an error that the unit is to blame for.
    async fn with_journal<T>(&self, done: Result<T>) -> Result<T> {
        use attest_systemd::Error as Cause;
        let Err(Error::Systemd(mut failure)) = done else {
            return done;
        };
        if let Cause::Wait(_) | Cause::Job(_) = failure.error
            && let Ok(name) = unit_name(&self.name)
        {
            let (machine, whose) = (&self.systemd.machine, &self.systemd.whose);
            if let Some(tail) = journal::tail(machine, whose, &name).await {
                failure.journal = Some(tail.tail);
                failure.last_words = tail.words;
            }
        }
        Err(Error::Systemd(failure))
    }
}

impl UnitCondition {
    /// Keep waiting when nothing is queued that could start it.
    pub(crate) fn set_patient(&mut self) {
        self.patient = true;
    }

    /// As in `unit nginx active`.
    pub(crate) fn subject(&self) -> String {
        let goal = match self.goal {
            UnitGoal::State(state) => state.name(),
            UnitGoal::Stopped => "stopped",
        };
        let systemd = &self.unit.systemd;
        systemd.named(&format!("unit {} {goal}", self.unit.name))
    }

    /// Wait for it. When the time is out before it comes: what was seen last.
    pub(crate) async fn wait(&self, timeout: Duration) -> Result<Option<String>> {
        self.unit.touch();
        let manager = self.unit.systemd.connection();
        let wait = self.of(&manager);
        let seen = wait.seen();
        match tokio::time::timeout(timeout, wait).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) => {
                let failed = SystemdFailure::error(&self.unit.systemd.machine, error);
                self.unit.with_journal(Err(failed)).await
            }
            Err(_) => Ok(Some(seen.to_string())),
        }
    }

    fn of(&self, manager: &Manager) -> UnitWait {
        let name = &self.unit.name;
        let wait = match self.goal {
            UnitGoal::State(state) => manager.wait_for_unit_state(name, state),
            UnitGoal::Stopped => manager.wait_for_unit_stop(name),
        };
        if self.patient { wait.patient() } else { wait }
    }
}
