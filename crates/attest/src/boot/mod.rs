//! From a plan to running machines: images, lab process, VMMs, agents.

mod backends;
mod config;
mod disks;
mod follow;
mod images;
mod spec;
mod strategy;

use std::path::Path;
use std::sync::Arc;

use attest_events::{EventKind, Phase};
use attest_manifest::LabPlan;
use attest_protocol::link::HostPort;
use attest_vmm::{Ability, Running};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use self::backends::Backends;
pub(crate) use self::config::agent_to_push;
use self::follow::{Follower, follow_ending};
pub(crate) use self::images::{Images, Root};
use crate::error::Result;
use crate::lab::Shared;
use crate::machine::Inner;
use crate::recorder::Recorder;
use crate::runtime::Background;
use crate::session::State;
use crate::setup;

/// What is known before anything is started.
pub(crate) struct Prepared {
    pub(crate) images: Images,
    pub(crate) backends: Backends,
}

/// A machine that was started, and the tasks that follow it.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) running: Arc<dyn Running>,
    session: Background,
    /// Tells how it ended; nobody does while a reboot is expected.
    ending: Option<Background>,
    console: Background,
    told: Background,
}

/// What a machine's root holds when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootUse {
    /// What its image holds.
    Fresh,
    /// What was written to it before, too.
    Same,
}

/// How a machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) root: RootUse,
    /// Whether a reset by the guest boots it again, where its backend must know that before.
    pub(crate) allow_reboot: bool,
}

impl Start {
    /// Whatever its root held before; a reset ends it.
    pub(crate) const FRESH: Self = Self {
        root: RootUse::Fresh,
        allow_reboot: false,
    };
}

impl Live {
    /// Nothing is recorded of it after this.
    pub(crate) async fn unfollow(self) {
        let followers = [
            Some(self.session),
            self.ending,
            Some(self.console),
            Some(self.told),
        ];
        for follower in followers.into_iter().flatten() {
            follower.end().await;
        }
    }

    /// Its end is what is asked for, and is not told.
    pub(crate) fn expect_end(&mut self) {
        self.ending = None;
    }

    /// Tell how it ended, when it has.
    pub(crate) fn watch_end(&mut self, inner: &Inner) {
        let (session, recorder) = (Arc::clone(&inner.session), inner.recorder.clone());
        let running = Arc::clone(&self.running);
        self.ending = Some(Background::spawn(async move {
            follow_ending(&*running, &session, &recorder).await;
        }));
    }
}

/// Get the images and the backend.
pub(crate) async fn prepare(
    plan: &LabPlan,
    recorder: &Recorder,
    cache: Option<&Path>,
) -> Result<Prepared> {
    recorder.enter(Phase::Image);
    let directory = crate::images::place(cache)?;
    let backends = Backends::new(&directory);
    backends.check(plan)?;
    let (machines, progress) = (plan.machines.clone(), recorder.clone());
    let images = tokio::task::spawn_blocking(move || Images::get(&directory, &machines, &progress))
        .await
        .expect("building an image does not panic")?;
    for choice in images.choices() {
        recorder.record(EventKind::Chosen {
            what: choice.what.to_string(),
            choice: choice.choice.clone(),
            reason: choice.reason.clone(),
        });
    }
    Ok(Prepared { images, backends })
}

/// The same for a lab of start scripts, which bring all themselves.
pub(crate) fn nothing_to_prepare(output: &Path) -> Prepared {
    Prepared {
        images: Images::none(),
        backends: Backends::new(output),
    }
}

/// Start one machine: its disks and network cards, its VMM, and the tasks that follow it.
pub(crate) async fn start(inner: &Inner, lab: &Shared, how: Start) -> Result<Live> {
    let name = inner.plan.name.as_str();
    let began = Instant::now();
    let (tell, told) = mpsc::unbounded_channel();
    // A start that fails leaves it to tell the rest.
    let told = tokio::spawn(follow::tell(told, name.to_owned(), inner.recorder.clone()));
    let config = config::machine(inner, lab, how, tell).await?;
    inner.session.state.send_replace(State::Booting(began));
    let backend = lab.backends.of(inner.plan.backend);
    let started = match backend.start(config, &lab.process).await {
        Ok(started) => started,
        Err(error) => {
            inner.session.state.send_replace(State::Off);
            return Err(error.into());
        }
    };
    for choice in started.chosen {
        chosen(inner, choice.what, choice.choice, choice.reason);
    }
    if let Some(root) = lab.images.root_of(&inner.plan) {
        let (strategy, reason) = strategy::decide(&inner.plan, root.is_writable)?;
        let name = strategy.name().to_owned();
        chosen(inner, "copy-on-write", name, reason.to_owned());
    }
    inner
        .recorder
        .machine_phase(name, Phase::Spawn, began.elapsed());
    let console = inner
        .session
        .console
        .follow(started.console, inner.recorder.clone())
        .await?;
    let running: Arc<dyn Running> = Arc::from(started.running);
    let (reader, writer) = started.agent.into_split();
    let follower = Follower {
        port: HostPort::new(reader, writer),
        session: Arc::clone(&inner.session),
        recorder: inner.recorder.clone(),
        setup: setup::plan(&lab.plan, &inner.plan),
        has_own_clock: backend.lacks(Ability::Clock).is_none(),
        files: inner.plan.files.clone(),
        booting_since: Instant::now(),
    };
    let mut live = Live {
        running,
        session: Background::spawn(follower.follow()),
        ending: None,
        console,
        told: told.into(),
    };
    live.watch_end(inner);
    Ok(live)
}

fn chosen(inner: &Inner, what: &str, choice: String, reason: String) {
    inner.recorder.record_machine(
        &inner.plan.name,
        EventKind::Chosen {
            what: what.to_owned(),
            choice,
            reason,
        },
    );
}
