//! From a plan, or from what was saved, to running machines: images, lab process, VMMs, agents.

mod ahead;
mod backends;
mod cards;
mod config;
mod disks;
mod follow;
mod images;
mod ports;
mod spec;
mod strategy;
mod wake;
mod wires;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use attest_events::{EventKind, Part, Phase};
use attest_manifest::LabPlan;
use attest_vmm::{Ability, Ram, Running, Started};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use self::ahead::Ahead;
pub(crate) use self::backends::{Backends, accelerator};
pub(crate) use self::cards::{Cards, Way};
pub(crate) use self::config::unpack_agent;
pub(crate) use self::disks::{Layer, WrittenDisk};
pub(crate) use self::follow::Begin;
use self::follow::{Follower, follow_ending};
pub(crate) use self::images::{Images, Root, first_steps, progress};
use self::ports::Ports;
pub(crate) use self::wires::Wires;
use crate::error::{Error, Result};
use crate::lab::Shared;
use crate::machine::Inner;
use crate::recorder::Recorder;
use crate::runtime::{Background, blocking};
use crate::session::State;
use crate::setup;

/// What is known before anything is started. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) images: Arc<Images>,
    pub(crate) backends: Arc<Backends>,
    pub(crate) ahead: Arc<Ahead>,
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
    /// For who saves it.
    pub(crate) written: Vec<WrittenDisk>,
    /// What its memory is in, where that is a file that it writes to.
    pub(crate) memory: Option<File>,
}

/// What outlives the VMM of a machine.
#[derive(Debug, Default)]
pub(crate) struct Media {
    /// The disks that it wrote to.
    pub(crate) written: Vec<WrittenDisk>,
    /// The file for its memory, where it has one.
    pub(crate) memory: Option<File>,
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
    /// Nothing is recorded of it after this. What it was on stays, for who starts it again.
    pub(crate) async fn unfollow(self) -> Media {
        let followers = [
            Some(self.session),
            self.ending,
            Some(self.console),
            Some(self.told),
        ];
        for follower in followers.into_iter().flatten() {
            follower.end().await;
        }
        Media {
            written: self.written,
            memory: self.memory,
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
    recorder.part(Part::Images);
    let directory = crate::images::place(cache)?;
    let backends = Backends::new(&directory);
    backends.check(plan)?;
    let (machines, progress) = (plan.machines.clone(), recorder.clone());
    let images = blocking(move || Images::get(&directory, &machines, &progress)).await?;
    for choice in images.choices() {
        recorder.record(EventKind::Chosen {
            what: choice.what.to_string(),
            choice: choice.choice.clone(),
            reason: choice.reason.clone(),
        });
    }
    if let Some(choice) = backends.choice_of_cards(plan)? {
        recorder.record(EventKind::Chosen {
            what: choice.what.to_owned(),
            choice: choice.choice,
            reason: choice.reason,
        });
    }
    Ok(Prepared {
        images: Arc::new(images),
        backends: Arc::new(backends),
        ahead: Arc::default(),
    })
}

/// The same for a lab of start scripts, which bring all themselves.
pub(crate) fn nothing_to_prepare(output: &Path) -> Prepared {
    Prepared {
        images: Arc::new(Images::none()),
        backends: Arc::new(Backends::new(output)),
        ahead: Arc::default(),
    }
}

/// What a machine is when it starts.
#[derive(Debug)]
pub(crate) enum Origin<'a> {
    /// What its image makes of it, with the memory there; with [`RootUse::Same`], over these disks.
    Image(Start, &'a [WrittenDisk], Ram),
    /// What it was when it was saved: what was written to its disks, and its memory.
    Saved(&'a [WrittenDisk], Ram),
}

/// A machine whose VMM runs, before its guest does where that was saved.
#[derive(Debug)]
pub(crate) struct Launched {
    started: Started,
    written: Vec<WrittenDisk>,
    told: JoinHandle<()>,
}

/// Start one machine: its disks and network cards, its VMM, and the tasks that follow it.
pub(crate) async fn start(inner: &Inner, lab: &Shared, how: Start, media: Media) -> Result<Live> {
    let began = Instant::now();
    let planned = inner.memory.lock().expect("nobody panics with it").take();
    let memory = media.memory.or(planned);
    let ram = match &memory {
        Some(memory) => Ram::Shared(open_again(memory)?.into()),
        None => Ram::Own,
    };
    inner.session.state.send_replace(State::Booting(began));
    let launched = launch(inner, lab, Origin::Image(how, &media.written, ram)).await;
    let launched = launched.inspect_err(|_| {
        inner.session.state.send_replace(State::Off);
    })?;
    inner
        .recorder
        .machine_phase(&inner.plan.name, Phase::Spawn, began.elapsed());
    follow(inner, lab, launched, Begin::Boots, memory).await
}

/// Start the VMM of one machine.
pub(crate) async fn launch(inner: &Inner, lab: &Shared, origin: Origin<'_>) -> Result<Launched> {
    let is_saved = matches!(origin, Origin::Saved(..));
    let (tell, told) = mpsc::unbounded_channel();
    // A start that fails leaves it to tell the rest.
    let name = inner.plan.name.clone();
    let told = tokio::spawn(follow::tell(told, name, inner.recorder.clone()));
    let (config, written) = config::machine(inner, lab, origin, tell).await?;
    let backend = lab.backends.of(inner.plan.backend);
    let vmm_starts = |part| inner.recorder.machine_part(&inner.plan.name, part);
    lab.machine_starts();
    vmm_starts(Part::VmmStart);
    let mut started = backend.start(config, &lab.process).await?;
    let choices = std::mem::take(&mut started.chosen);
    // Of a container there is no sign before its agent's.
    if !is_saved && inner.plan.backend.is_virtual() {
        vmm_starts(Part::Kernel);
    }
    // They were made when it booted.
    if !is_saved {
        for choice in choices {
            chosen(inner, choice.what, choice.choice, choice.reason);
        }
        if let Some(root) = lab.images.root_of(&inner.plan) {
            let (strategy, reason) = strategy::decide(&inner.plan, root.is_writable)?;
            let name = strategy.name().to_owned();
            chosen(inner, "copy-on-write", name, reason.to_owned());
        }
    }
    Ok(Launched {
        started,
        written,
        told,
    })
}

impl Launched {
    /// What was saved was still being written to when this was started for it: its disks are to be as they are now.
    /// Layers are read when they are needed, so that only copies are concerned.
    pub(crate) fn refresh(&self, saved: &[WrittenDisk]) -> Result<()> {
        self.written.iter().try_for_each(|own| own.refresh(saved))
    }

    /// What it runs as.
    pub(crate) fn running(&self) -> &dyn Running {
        &*self.started.running
    }
}

/// Follow a machine whose VMM was started. `memory` is the file that its memory is in, where it is shared.
pub(crate) async fn follow(
    inner: &Inner,
    lab: &Shared,
    launched: Launched,
    begin: Begin,
    memory: Option<File>,
) -> Result<Live> {
    let Launched {
        started,
        written,
        told,
        ..
    } = launched;
    let console = inner.session.console.follow(
        started.console,
        inner.recorder.clone(),
        begin == Begin::GoesOn,
    );
    let console = console.await?;
    let running: Arc<dyn Running> = Arc::from(started.running);
    let backend = lab.backends.of(inner.plan.backend);
    let follower = Follower {
        ports: Ports::new(started.agent, begin),
        begin,
        boot_id: None,
        session: Arc::clone(&inner.session),
        recorder: inner.recorder.clone(),
        setup: setup::plan(&lab.plan, &inner.plan),
        has_own_clock: backend.lacks(Ability::Clock).is_none(),
        files: inner.plan.files.clone(),
        ready: follow::ready(&inner.plan.image, inner.timeouts.boot),
        booting_since: Instant::now(),
    };
    let mut live = Live {
        running,
        session: Background::spawn(follower.follow()),
        ending: None,
        console,
        told: told.into(),
        written,
        memory,
    };
    live.watch_end(inner);
    Ok(live)
}

/// An open file, for one more who only reads it.
pub(crate) fn open_for_reading(file: &File) -> std::io::Result<File> {
    disks::open_again(file, false)
}

/// An open file, for one more who writes to it.
pub(crate) fn open_again(file: &File) -> Result<File> {
    disks::open_again(file, true).map_err(Error::io("a machine's memory cannot be opened again"))
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
