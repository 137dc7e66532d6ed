//! Waiting for a unit.
//!
//! The signals are listened to first and the state is read then, so nothing falls between. From
//! then on systemd's own signals say the state; nothing asks again and again.
//!
//! When an inactive unit can no longer become active by itself is the hard part. systemd serves
//! its private socket from its main loop, which it enters after it has queued the jobs of the
//! boot; so whoever gets an answer finds them queued. As long as a job of any unit is left, it
//! may start this one: by a dependency, or because it is a program that starts it. So an end is
//! only where the unit is inactive without a job of its own and *no job at all* is left, all at
//! one instant. During the boot that is never so: the boot is finished at the first instant
//! without a job, and the manager says so. Until then there is nothing to ask.

use std::collections::HashSet;
use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use crate::dbus::Signals;
use crate::error::Error;
use crate::failure::{WaitEnd, WaitFailure};
use crate::manager::{Link, Manager};
use crate::name::{object_path, unit_name};
use crate::properties::Properties;
use crate::signal::{Signal, UNIT};
use crate::state::{ActiveState, JobResult, LoadState, UnitState};
use crate::status::UnitStatus;

/// Connections lost one after the other without a state in between, before the last loss is
/// an error: systemd executing itself anew costs one or two.
const LOSSES: u32 = 8;
/// In place of a time that is not known.
const UNKNOWN: u64 = u64::MAX;

/// A wait for a unit's state. It returns when the state comes, not at a next poll; and it
/// fails at once when the state cannot come any more, with [`Error::Wait`].
///
/// It has no deadline: put it into a time-out and say by [`UnitWait::seen`] what was last seen.
/// Dropping the future ends the wait.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn f(systemd: attest_systemd::Manager) -> Result<(), Box<dyn std::error::Error>> {
/// let wait = systemd.wait_for_unit("nginx");
/// let seen = wait.seen();
/// let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
/// waited.map_err(|_| format!("nginx is not up after a minute; last seen: {seen}"))??;
/// # Ok(()) }
/// ```
#[must_use = "a wait does nothing until it is awaited"]
#[derive(Debug)]
pub struct UnitWait {
    manager: Manager,
    unit: String,
    wanted: Wanted,
    patient: bool,
    seen: Seen,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    State(ActiveState),
    Stopped,
}

/// What a wait saw last.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Option<UnitState>>>);

impl Manager {
    /// Wait until a unit is active. The name is completed as `systemctl` completes it.
    ///
    /// It fails at once when the unit has `failed`; and as soon as it is `inactive`, has no job
    /// and nothing in the whole system is queued that could start it. A service that `Restart=`
    /// will start again is neither.
    pub fn wait_for_unit(&self, unit: &str) -> UnitWait {
        self.wait_for_unit_state(unit, ActiveState::Active)
    }

    /// Wait until a unit is in this state, as [`Manager::wait_for_unit`]. To wait for `inactive`
    /// fails when the unit has `failed`, and the other way round.
    pub fn wait_for_unit_state(&self, unit: &str, state: ActiveState) -> UnitWait {
        self.wait(unit, Wanted::State(state))
    }

    /// Wait until a unit is stopped, whether well or because it failed.
    pub fn wait_for_unit_stop(&self, unit: &str) -> UnitWait {
        self.wait(unit, Wanted::Stopped)
    }

    fn wait(&self, unit: &str, wanted: Wanted) -> UnitWait {
        UnitWait {
            manager: self.clone(),
            unit: unit.to_owned(),
            wanted,
            patient: false,
            seen: Seen::default(),
        }
    }
}

impl UnitWait {
    /// Keep waiting when the unit is inactive and nothing is queued: for a device that will be
    /// plugged in, or a unit that a timer, a socket or the test itself will start.
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// What it will have seen last, for whoever ends it.
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }

    async fn wait(self) -> Result<(), Error> {
        let unit = unit_name(&self.unit)?;
        let mut losses = 0;
        loop {
            let waited = async {
                let link = self.manager.link().await?;
                let mut watch = Watch::begin(&self, &link, &unit).await?;
                losses = 0;
                watch.until_over().await
            };
            match waited.await {
                Err(error) if error.is_lost() && self.manager.reconnects() && losses < LOSSES => {
                    losses += 1;
                }
                waited => return waited,
            }
        }
    }
}

impl IntoFuture for UnitWait {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

impl Wanted {
    fn is_met(self, state: &UnitState) -> bool {
        match self {
            Self::State(wanted) => state.active == wanted,
            Self::Stopped => {
                matches!(state.active, ActiveState::Inactive | ActiveState::Failed)
            }
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0.lock().expect("not poisoned") {
            None => f.write_str("no answer of systemd"),
            Some(state) => {
                write!(f, "{} (SubState={})", state.active, state.sub)?;
                match state.job {
                    0 => f.write_str(", no job of its own"),
                    job => write!(f, ", job {job} queued or running"),
                }
            }
        }
    }
}

/// A wait over one connection.
struct Watch<'a> {
    wait: &'a UnitWait,
    link: &'a Link,
    signals: Signals,
    /// As it was asked for: an alias may lead elsewhere after a reload.
    name: &'a str,
    /// The unit behind it, and its path.
    unit: String,
    path: String,
    /// What is known, and since which message.
    state: UnitState,
    since: u64,
    /// Jobs that were left at that message, and are not known to have ended. `None` as long as
    /// nobody needed to know.
    jobs: Option<(u64, HashSet<u32>)>,
    /// How its own last job ended.
    job: JobResult,
}

impl<'a> Watch<'a> {
    async fn begin(wait: &'a UnitWait, link: &'a Link, name: &'a str) -> Result<Self, Error> {
        let signals = link.connection.signals()?;
        let (since, properties) = link.unit(name, UNIT).await?;
        let unit = properties.str("Id").to_owned();
        let state = UnitState::of_properties(&properties);
        let path = object_path(&unit);
        let (jobs, job) = (None, JobResult::Done);
        Ok(Self {
            wait,
            link,
            signals,
            name,
            unit,
            path,
            state,
            since,
            jobs,
            job,
        })
    }

    async fn until_over(&mut self) -> Result<(), Error> {
        loop {
            *self.wait.seen.0.lock().expect("not poisoned") = Some(self.state.clone());
            if self.wait.wanted.is_met(&self.state) {
                return Ok(());
            }
            if self.is_at_an_end()
                && let Some(failure) = self.confirm().await?
            {
                return Err(Error::Wait(Box::new(failure)));
            }
            // What was confirmed may be what is waited for.
            if !self.wait.wanted.is_met(&self.state) && !self.is_at_an_end() {
                self.follow().await?;
            }
        }
    }

    /// Whether it looks as if what is waited for will not come.
    fn is_at_an_end(&self) -> bool {
        if self.state.is_failed() {
            return true;
        }
        if !self.state.is_idle() || self.wait.patient {
            return false;
        }
        let nothing_left = match &self.jobs {
            Some((_, left)) => left.is_empty(),
            None => true,
        };
        self.is_job_lost() || (nothing_left && self.link.connection.is_started_up())
    }

    /// Whether its own last job ended so that it will not be tried again by itself.
    fn is_job_lost(&self) -> bool {
        !matches!(
            self.job,
            JobResult::Done
                | JobResult::Canceled
                | JobResult::Skipped
                | JobResult::Collected
                | JobResult::Unknown
        )
    }

    /// Look whether it really is at an end: no jobs were left while the unit was idle without
    /// an interruption. If it is not so, this is what is known from now on.
    async fn confirm(&mut self) -> Result<Option<WaitFailure>, Error> {
        let (jobs, unit) = tokio::try_join!(self.link.list_jobs(), self.link.unit(self.name, ""))?;
        let ((jobs_at, jobs), (since, properties)) = (jobs, unit);
        let before = std::mem::replace(&mut self.state, UnitState::of_properties(&properties));
        self.since = since;
        self.jobs = Some((jobs_at, jobs.iter().map(|job| job.id).collect()));
        let end = if self.state.is_failed() {
            WaitEnd::Failed
        } else if self.state.is_idle() && self.is_job_lost() {
            WaitEnd::Job(self.job)
        } else if self.state.is_idle()
            && self.state.left_inactive == before.left_inactive
            && jobs.is_empty()
            && jobs_at < since
        {
            WaitEnd::NothingQueued
        } else {
            return Ok(None);
        };
        if self.wait.wanted.is_met(&self.state) {
            return Ok(None);
        }
        Ok(Some(self.failure(end, &properties).await))
    }

    async fn failure(&self, end: WaitEnd, properties: &Properties) -> WaitFailure {
        let status = UnitStatus::new(properties);
        let missing = status.load == LoadState::NotFound;
        let near = if missing {
            self.link.near_units(self.name).await
        } else {
            Vec::new()
        };
        let wanted = self.wait.wanted;
        WaitFailure {
            unit: self.name.to_owned(),
            wanted,
            end,
            status,
            near,
        }
    }

    /// Take signals until one changes what is known.
    async fn follow(&mut self) -> Result<(), Error> {
        loop {
            let Some((at, signal)) = self.signals.next(&self.link.connection).await? else {
                return self.look_anew().await;
            };
            match signal {
                Signal::Unit { path, state } if path == self.path && at > self.since => {
                    let Some(state) = state else {
                        return self.look().await;
                    };
                    (self.state, self.since) = (state, at);
                    return Ok(());
                }
                // It was not loaded before: nothing else may tell that it is active by now.
                Signal::UnitNew { unit } if unit == self.unit && at > self.since => {
                    return self.look().await;
                }
                Signal::JobNew { id } => {
                    if let Some((_, left)) = self.jobs.as_mut().filter(|(since, _)| at > *since) {
                        left.insert(id);
                    }
                }
                Signal::JobRemoved { id, unit, result } => {
                    if unit == self.unit {
                        self.job = JobResult::of(&result);
                    }
                    if let Some((_, left)) = self.jobs.as_mut().filter(|(since, _)| at > *since) {
                        left.remove(&id);
                    }
                    return Ok(());
                }
                Signal::StartupFinished => return Ok(()),
                Signal::Reloaded => return self.look_anew().await,
                _ => {}
            }
        }
    }

    /// Read the state without loading the unit: to load it would be a change of its own.
    async fn look(&mut self) -> Result<(), Error> {
        let (since, units) = self.link.list_units(&[], &[&self.unit]).await?;
        let entry = units.into_iter().find(|entry| entry.unit == self.unit);
        self.since = since;
        self.state = match entry {
            Some(entry) => UnitState {
                active: entry.active,
                sub: entry.sub,
                job: entry.job.unwrap_or_default(),
                left_inactive: UNKNOWN,
            },
            None => UnitState {
                active: ActiveState::Inactive,
                sub: "dead".to_owned(),
                job: 0,
                left_inactive: UNKNOWN,
            },
        };
        Ok(())
    }

    /// Forget all and read it again: units were read anew, or signals were missed.
    async fn look_anew(&mut self) -> Result<(), Error> {
        let (since, properties) = self.link.unit(self.name, UNIT).await?;
        properties.str("Id").clone_into(&mut self.unit);
        self.path = object_path(&self.unit);
        self.state = UnitState::of_properties(&properties);
        self.since = since;
        self.jobs = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
