//! systemd of a machine: units, jobs, and the managers that have them.

mod connect;
mod failure;
mod journal;
mod observe;
mod unit;

use std::time::Duration;

pub(crate) use self::connect::Managers;
pub use self::failure::SystemdFailure;
pub(crate) use self::journal::{Journals, tails as journal_tails};
pub(crate) use self::observe::observe;
pub use self::unit::Unit;
pub(crate) use self::unit::UnitCondition;
pub use attest_systemd::Error as ManagerError;
pub use attest_systemd::{
    ActiveState, BootBreakdown, JobEntry, JobFailure, JobResult, LoadState, MainExit, Manager,
    Mode, Properties, Startup, SystemState, UnitEntry, UnitStatus, UnitTime, Value, WaitEnd,
    WaitFailure,
};

use crate::error::{Error, Result};
use crate::machine::Machine;

/// Whose manager it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Whose {
    /// The system's.
    System,
    /// Of the user of this name.
    User(String),
}

/// A manager of a machine: its system's, or one of its users'. See [`Machine::systemd`].
///
/// It is connected with when it is first needed, also while the machine boots; and again after
/// a reboot, or after it has executed itself anew.
///
/// ```no_run
/// # async fn f(machine: attest::Machine) -> attest::Result<()> {
/// let systemd = machine.systemd();
/// systemd.daemon_reload().await?;
/// assert!(systemd.failed_units().await?.is_empty());
/// # Ok(()) }
/// ```
///
/// Errors: [`Error::Systemd`], and [`Error::TimedOut`] when an answer does not come in time. A
/// guest without systemd is refused by the name of what runs there.
#[derive(Debug, Clone)]
pub struct Systemd {
    machine: Machine,
    whose: Whose,
    timeout: Duration,
}

impl Machine {
    /// The manager of its system.
    pub fn systemd(&self) -> Systemd {
        Systemd::new(self, Whose::System)
    }

    /// The manager of a user of its system, by the user's name. The user is logged in or
    /// lingers (`loginctl enable-linger`).
    pub fn user_systemd(&self, user: impl Into<String>) -> Systemd {
        Systemd::new(self, Whose::User(user.into()))
    }

    /// A unit of its system. `nginx` is `nginx.service`: names are completed as `systemctl`
    /// completes them.
    pub fn unit(&self, name: impl Into<String>) -> Unit {
        self.systemd().unit(name)
    }

    /// A unit of a user's manager. As [`Machine::user_systemd`] and [`Machine::unit`].
    pub fn user_unit(&self, user: impl Into<String>, name: impl Into<String>) -> Unit {
        self.user_systemd(user).unit(name)
    }
}

impl Systemd {
    fn new(machine: &Machine, whose: Whose) -> Self {
        Self {
            machine: machine.clone(),
            whose,
            timeout: machine.timeouts().command,
        }
    }

    /// Give up after this long, on each of its operations. Default: the lab's time-out of
    /// commands and waits.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A unit of it. As [`Machine::unit`].
    pub fn unit(&self, name: impl Into<String>) -> Unit {
        Unit::new(self.clone(), name.into())
    }

    /// The manager itself, for all that is not here. It has no time-outs.
    pub async fn manager(&self) -> Result<Manager> {
        self.within("connect", |manager| async {
            manager.version().await?;
            Ok(manager)
        })
        .await
    }

    /// systemd's version, as `252.39-1~deb12u2`.
    pub async fn version(&self) -> Result<String> {
        let ask = |manager: Manager| async move { manager.version().await };
        self.act("version", "", ask).await
    }

    /// All loaded units whose names match one of these patterns of a shell, or all when there
    /// is none.
    pub async fn units(&self, patterns: &[&str]) -> Result<Vec<UnitEntry>> {
        let list = |manager: Manager| async move { manager.list_units(patterns).await };
        self.act("list-units", &patterns.join(" "), list).await
    }

    /// All units that have failed.
    pub async fn failed_units(&self) -> Result<Vec<UnitEntry>> {
        let list = |manager: Manager| async move { manager.failed_units().await };
        self.act("list-units", "--failed", list).await
    }

    /// All jobs that are queued or run.
    pub async fn jobs(&self) -> Result<Vec<JobEntry>> {
        let list = |manager: Manager| async move { manager.list_jobs().await };
        self.act("list-jobs", "", list).await
    }

    /// Read all units' files anew. It returns when they are read.
    pub async fn daemon_reload(&self) -> Result<()> {
        let reload = |manager: Manager| async move { manager.daemon_reload().await };
        self.act("daemon-reload", "", reload).await
    }

    /// Let it execute itself anew. Waits that go on live through it.
    pub async fn daemon_reexec(&self) -> Result<()> {
        let reexec = |manager: Manager| async move { manager.daemon_reexec().await };
        self.act("daemon-reexec", "", reexec).await
    }

    /// Wait until its start-up is finished: until there is an instant without a job. Units that
    /// failed are in the answer, and are no error.
    pub async fn wait_for_startup(&self) -> Result<Startup> {
        let wait = |manager: Manager| async move { manager.wait_for_startup().await };
        self.act("wait", "for the end of the start-up", wait).await
    }

    /// Record `work` as an operation and bound its time.
    async fn act<T, F>(
        &self,
        operation: &str,
        subject: &str,
        work: impl FnOnce(Manager) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, attest_systemd::Error>>,
    {
        let what = format!("{operation} {subject}");
        self.machine
            .operation(operation, &self.named(subject), |_| {
                self.within(what.trim_end(), work)
            })
            .await
    }

    /// Bound its time.
    async fn within<T, F>(&self, what: &str, work: impl FnOnce(Manager) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, attest_systemd::Error>>,
    {
        match tokio::time::timeout(self.timeout, work(self.connection())).await {
            Ok(done) => done.map_err(|error| SystemdFailure::error(&self.machine, error)),
            Err(_) => Err(Error::TimedOut {
                machine: self.machine.name().to_owned(),
                subject: format!("`{what}` did not end within {:?}", self.timeout),
                last_seen: None,
            }),
        }
    }

    /// The connection, which may not stand yet.
    fn connection(&self) -> Manager {
        self.machine.inner.managers.get(&self.machine, &self.whose)
    }

    /// What is done, with the user whose manager does it.
    fn named(&self, subject: &str) -> String {
        match &self.whose {
            Whose::System => subject.to_owned(),
            Whose::User(user) => format!("{subject} (of {user})"),
        }
    }
}
