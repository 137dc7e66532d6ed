//! Starting, stopping and the like, each until its job has ended.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;

use crate::dbus::Signals;
use crate::error::Error;
use crate::manager::{Link, Manager};
use crate::name::unit_name;
use crate::signal::Signal;
use crate::state::JobResult;
use crate::status::UnitStatus;
use crate::value::Value;

/// What a new job does to those that are queued already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Replace those that it contradicts. The default, as of `systemctl`.
    #[default]
    Replace,
    /// Fail if it contradicts one.
    Fail,
    /// Replace, and let nothing replace it.
    ReplaceIrreversibly,
    /// Stop every unit that the started one does not need.
    Isolate,
    /// Drop all that is queued.
    Flush,
    /// Act on this unit only.
    IgnoreDependencies,
    /// Let nothing fail for a dependency that fails, but keep the order.
    IgnoreRequirements,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Fail => "fail",
            Self::ReplaceIrreversibly => "replace-irreversibly",
            Self::Isolate => "isolate",
            Self::Flush => "flush",
            Self::IgnoreDependencies => "ignore-dependencies",
            Self::IgnoreRequirements => "ignore-requirements",
        }
    }
}

/// What a job is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Start,
    Stop,
    Restart,
    TryRestart,
    Reload,
    ReloadOrRestart,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::TryRestart => "try-restart",
            Self::Reload => "reload",
            Self::ReloadOrRestart => "reload-or-restart",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
            Self::Restart => "RestartUnit",
            Self::TryRestart => "TryRestartUnit",
            Self::Reload => "ReloadUnit",
            Self::ReloadOrRestart => "ReloadOrRestartUnit",
        }
    }
}

/// A job to be queued. Awaited, it ends with the job: well when the job is done, else with
/// [`Error::Job`]. Dropped, it leaves the job to systemd.
///
/// ```no_run
/// # async fn f(systemd: attest_systemd::Manager) -> Result<(), attest_systemd::Error> {
/// systemd.restart("nginx").await?;
/// systemd.start("backup").mode(attest_systemd::Mode::Fail).await?;
/// let id = systemd.start("slow").queue().await?;
/// # Ok(()) }
/// ```
#[must_use = "a job is not queued until it is awaited"]
#[derive(Debug)]
pub struct Job {
    manager: Manager,
    unit: String,
    kind: Kind,
    mode: Mode,
}

/// A job that ended otherwise than with `done`.
#[derive(Debug, Clone)]
pub struct JobFailure {
    /// The unit, by its completed name.
    pub unit: String,
    /// `start`, `stop`, ….
    pub kind: &'static str,
    /// How the job ended.
    pub result: JobResult,
    /// The unit's state right after it, if it could be read.
    pub status: Option<UnitStatus>,
}

/// To whom a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillWhom {
    /// To every process of the unit.
    All,
    /// To its main process.
    Main,
    /// To the process that starts, reloads or stops it.
    Control,
}

impl Manager {
    /// Start a unit.
    pub fn start(&self, unit: &str) -> Job {
        self.job(Kind::Start, unit)
    }

    /// Stop a unit.
    pub fn stop(&self, unit: &str) -> Job {
        self.job(Kind::Stop, unit)
    }

    /// Stop a unit if it runs, and start it.
    pub fn restart(&self, unit: &str) -> Job {
        self.job(Kind::Restart, unit)
    }

    /// Restart a unit if it runs; else leave it.
    pub fn try_restart(&self, unit: &str) -> Job {
        self.job(Kind::TryRestart, unit)
    }

    /// Let a unit read its configuration anew.
    pub fn reload(&self, unit: &str) -> Job {
        self.job(Kind::Reload, unit)
    }

    /// Reload a unit if it can, else restart it.
    pub fn reload_or_restart(&self, unit: &str) -> Job {
        self.job(Kind::ReloadOrRestart, unit)
    }

    /// Start a unit, as a target, and stop all that it does not need.
    pub fn isolate(&self, unit: &str) -> Job {
        self.job(Kind::Start, unit).mode(Mode::Isolate)
    }

    /// Start the shutdown to boot again, as `systemctl reboot`: all units are stopped in order.
    /// It returns when that is queued; the connection ends later.
    pub async fn reboot(&self) -> Result<(), Error> {
        let job = self.start("reboot.target").mode(Mode::ReplaceIrreversibly);
        job.queue().await.map(drop)
    }

    /// Start the shutdown to switch off, as `systemctl poweroff`. As [`Manager::reboot`].
    pub async fn power_off(&self) -> Result<(), Error> {
        let job = self
            .start("poweroff.target")
            .mode(Mode::ReplaceIrreversibly);
        job.queue().await.map(drop)
    }

    /// Forget that a unit failed, and how often it was started.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), Error> {
        let unit = unit_name(unit)?;
        self.on_unit(&unit, "ResetFailedUnit", "s", &[unit.as_str().into()])
            .await
    }

    /// Forget that any unit failed.
    pub async fn reset_all_failed(&self) -> Result<(), Error> {
        self.call("ResetFailed", "", &[]).await.map(drop)
    }

    /// Send a signal to processes of a unit.
    pub async fn kill(&self, unit: &str, whom: KillWhom, signal: i32) -> Result<(), Error> {
        let unit = unit_name(unit)?;
        let whom = match whom {
            KillWhom::All => "all",
            KillWhom::Main => "main",
            KillWhom::Control => "control",
        };
        let arguments = [unit.as_str().into(), whom.into(), Value::I32(signal)];
        self.on_unit(&unit, "KillUnit", "ssi", &arguments).await
    }

    fn job(&self, kind: Kind, unit: &str) -> Job {
        let mode = Mode::default();
        Job {
            manager: self.clone(),
            unit: unit.to_owned(),
            kind,
            mode,
        }
    }

    async fn on_unit(
        &self,
        unit: &str,
        method: &'static str,
        signature: &str,
        arguments: &[Value],
    ) -> Result<(), Error> {
        let link = self.link().await?;
        match link.call(method, signature, arguments).await {
            Ok(_) => Ok(()),
            Err(error) => Err(link.known(error, unit).await),
        }
    }
}

impl Job {
    /// What it does to jobs that are queued already. Default: [`Mode::Replace`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Queue it, and leave it to systemd. The job's number.
    pub async fn queue(self) -> Result<u32, Error> {
        let unit = unit_name(&self.unit)?;
        let link = self.manager.link().await?;
        self.queue_over(&link, &unit).await
    }

    async fn queue_over(&self, link: &Link, unit: &str) -> Result<u32, Error> {
        let method = self.kind.method();
        let arguments = [unit.into(), self.mode.name().into()];
        let reply = match link.call(method, "ss", &arguments).await {
            Ok(reply) => reply,
            Err(error) => return Err(link.known(error, unit).await),
        };
        // /org/freedesktop/systemd1/job/NUMBER
        let path = reply.values.first().and_then(Value::as_str);
        let id = path.and_then(|path| path.rsplit('/').next()?.parse().ok());
        id.ok_or(Error::answer(method))
    }

    async fn run(self) -> Result<(), Error> {
        let unit = unit_name(&self.unit)?;
        let link = self.manager.link().await?;
        // Before it is queued, for its end may come with the next message.
        let mut signals = link.connection.signals()?;
        let id = self.queue_over(&link, &unit).await?;
        let kind = self.kind.name();
        let result = match end_of(id, &link, &mut signals).await {
            Ok(Some(result)) => result,
            Ok(None) => return Err(Error::JobEndMissed { unit, kind }),
            Err(error) if error.is_lost() => return Err(Error::JobEndMissed { unit, kind }),
            Err(error) => return Err(error),
        };
        if result == JobResult::Done {
            return Ok(());
        }
        let status = link.unit(&unit, "").await.ok();
        let status = status.map(|(_, properties)| UnitStatus::new(&properties));
        Err(Error::Job(Box::new(JobFailure {
            unit,
            kind,
            result,
            status,
        })))
    }
}

/// How a job ended; `None` when that was missed.
async fn end_of(id: u32, link: &Link, signals: &mut Signals) -> Result<Option<JobResult>, Error> {
    loop {
        match signals.next(&link.connection).await? {
            Some((
                _,
                Signal::JobRemoved {
                    id: ended, result, ..
                },
            )) if ended == id => {
                return Ok(Some(JobResult::of(&result)));
            }
            Some(_) => {}
            None => {
                let (_, jobs) = link.list_jobs().await?;
                if jobs.iter().all(|job| job.id != id) {
                    return Ok(None);
                }
            }
        }
    }
}

impl Link {
    /// A call's error, but for a unit that there is not with those that look like it.
    async fn known(&self, error: Error, unit: &str) -> Error {
        match error {
            Error::Call { name, .. } if name == "org.freedesktop.systemd1.NoSuchUnit" => {
                self.not_found(unit.to_owned()).await
            }
            error => error,
        }
    }
}

impl IntoFuture for Job {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            unit, kind, result, ..
        } = self;
        write!(f, "the {kind} job of {unit} ended with `{result}`")?;
        f.write_str(match result {
            JobResult::Dependency => ": a unit that it needs failed",
            JobResult::Canceled => ": another job took its place",
            JobResult::Invalid => ": the unit cannot do that now",
            _ => "",
        })?;
        match &self.status {
            Some(status) => write!(f, "; the unit is {status}"),
            None => Ok(()),
        }
    }
}
