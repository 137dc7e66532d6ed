//! From a plan to running machines: images, lab process, VMMs, agents.

use std::path::Path;
use std::sync::Arc;

use attest_events::{EventKind, MachineEnding, Phase};
use attest_image::bare::{self, BareGuest, BareOptions};
use attest_image::{Cache, Kernel, KernelSource, disks};
use attest_manifest::{DiskContent, DiskPlan, ImagePlan, LabPlan, MachinePlan};
use attest_protocol::link::{HostLink, HostPort, Incoming, LinkError};
use attest_protocol::message::{Request, Setup};
use attest_vmm::{Backend, Card, Disk, EndingKind, MachineConfig, QemuOptions, Running};
use tokio::time::Instant;

use crate::copy;
use crate::error::{Error, Result};
use crate::lab::Shared;
use crate::machine::Inner;
use crate::recorder::Recorder;
use crate::runtime::Background;
use crate::session::{Ready, Session, State};
use crate::setup;

/// Kernel modules that the bare guest needs on any of QEMU's boards.
const MODULES: &[&str] = &[
    "virtio_mmio",
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
];

/// What all machines of a lab boot from.
#[derive(Debug)]
pub(crate) struct Images {
    cache: Cache,
    /// One for each image that is used.
    guests: Vec<(ImagePlan, BareGuest)>,
}

impl Images {
    fn get(directory: &Path, plans: &[ImagePlan], recorder: &Recorder) -> Result<Self> {
        let cache = Cache::open(directory)?;
        let mut guests: Vec<(ImagePlan, BareGuest)> = Vec::new();
        for plan in plans {
            if guests.iter().any(|(known, _)| known == plan) {
                continue;
            }
            let source = plan
                .kernel
                .clone()
                .map_or(KernelSource::Auto, KernelSource::Path);
            let kernel = Kernel::find(&cache, &source, &mut |step| {
                recorder.record(EventKind::Progress {
                    text: step.to_string(),
                });
            })?;
            let guest = match &plan.initrd {
                Some(initrd) => bare::with_initrd(&cache, &kernel, initrd)?,
                None => bare::build(
                    &cache,
                    &kernel,
                    &BareOptions::new(attest_embed::AGENT, MODULES),
                )?,
            };
            guests.push((plan.clone(), guest));
        }
        Ok(Self { cache, guests })
    }

    fn of(&self, plan: &MachinePlan) -> &BareGuest {
        let found = self.guests.iter().find(|(known, _)| *known == plan.image);
        &found.expect("made for every machine of the plan").1
    }
}

/// What is known before anything is started.
pub(crate) struct Prepared {
    pub(crate) images: Images,
    pub(crate) backend: Arc<dyn Backend>,
}

/// A machine that was started, and the tasks that follow it.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) running: Arc<dyn Running>,
    /// That of the session, of the VMM's end, and of the console.
    followers: [Background; 3],
}

impl Live {
    /// Nothing is recorded of it after this.
    pub(crate) async fn unfollow(self) {
        for follower in self.followers {
            follower.end().await;
        }
    }
}

/// Get the images and the backend.
pub(crate) async fn prepare(
    plan: &LabPlan,
    recorder: &Recorder,
    cache: Option<&Path>,
) -> Result<Prepared> {
    recorder.enter(Phase::Image);
    let directory = match cache {
        Some(directory) => directory.to_owned(),
        None => Cache::default_directory()?,
    };
    let sources: Vec<ImagePlan> = plan
        .machines
        .iter()
        .map(|machine| machine.image.clone())
        .collect();
    let recorder_for_progress = recorder.clone();
    let images = tokio::task::spawn_blocking(move || {
        Images::get(&directory, &sources, &recorder_for_progress)
    })
    .await
    .expect("building an image does not panic")?;
    for choice in images.guests.iter().flat_map(|(_, guest)| &guest.choices) {
        recorder.record(EventKind::Chosen {
            what: choice.what.to_string(),
            choice: choice.choice.clone(),
            reason: choice.reason.clone(),
        });
    }
    let backend: Arc<dyn Backend> = Arc::new(attest_vmm::Qemu::new(images.cache.directory()));
    Ok(Prepared { images, backend })
}

/// Start one machine: its disks and network cards, its VMM, and the tasks that follow it.
pub(crate) async fn start(inner: &Inner, lab: &Shared) -> Result<Live> {
    let name = inner.plan.name.as_str();
    let began = Instant::now();
    let config = machine_config(&inner.plan, lab).await?;
    inner.session.state.send_replace(State::Booting(began));
    let started = match lab.backend.start(config, &lab.process).await {
        Ok(started) => started,
        Err(error) => {
            inner.session.state.send_replace(State::Off);
            return Err(error.into());
        }
    };
    for choice in started.chosen {
        inner.recorder.record_machine(
            name,
            EventKind::Chosen {
                what: choice.what.to_owned(),
                choice: choice.choice,
                reason: choice.reason,
            },
        );
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
        files: inner.plan.files.clone(),
        booting_since: Instant::now(),
    };
    let (session, recorder) = (Arc::clone(&inner.session), inner.recorder.clone());
    let watched = Arc::clone(&running);
    Ok(Live {
        running,
        followers: [
            Background::spawn(follower.follow()),
            Background::spawn(async move { follow_ending(&*watched, &session, &recorder).await }),
            console,
        ],
    })
}

async fn machine_config(plan: &MachinePlan, lab: &Shared) -> Result<MachineConfig> {
    let mut cards = Vec::with_capacity(plan.cards.len());
    for card in &plan.cards {
        cards.push(Card {
            mac: card.mac,
            tap: lab.process.tap(&card.network).await?,
        });
    }
    let guest = lab.images.of(plan);
    let disks = plan
        .disks
        .iter()
        .enumerate()
        .map(|(index, disk)| open_disk(disk, index, &lab.images.cache));
    Ok(MachineConfig {
        name: plan.name.clone(),
        memory: plan.memory,
        vcpus: plan.vcpus,
        kernel: guest.kernel.clone(),
        initrd: guest.initrd.clone(),
        kernel_arguments: plan.kernel_arguments.clone(),
        cards,
        disks: disks.collect::<Result<_>>()?,
        qemu: qemu_options(plan),
        log: Some(lab.output.join(format!("{}.vmm.log", plan.name))),
    })
}

fn open_disk(plan: &DiskPlan, index: usize, cache: &Cache) -> Result<Disk> {
    let file = match &plan.content {
        DiskContent::Empty(bytes) => disks::scratch(cache, *bytes)?,
        DiskContent::Source(path) if plan.read_only => disks::read_only(path)?,
        DiskContent::Source(path) => disks::writable(path)?,
    };
    Ok(Disk {
        file,
        read_only: plan.read_only,
        serial: format!("disk{index}"),
    })
}

fn qemu_options(plan: &MachinePlan) -> QemuOptions {
    QemuOptions {
        program: None,
        machine: match plan.machine_type {
            attest_manifest::MachineType::Microvm => attest_vmm::MachineType::Microvm,
            attest_manifest::MachineType::Q35 => attest_vmm::MachineType::Q35,
        },
        accelerator: match plan.accelerator {
            attest_manifest::Accelerator::Auto => None,
            attest_manifest::Accelerator::Kvm => Some(attest_vmm::Accelerator::Kvm),
            attest_manifest::Accelerator::Tcg => Some(attest_vmm::Accelerator::Tcg),
        },
    }
}

/// Follows one agent over all boots of its machine.
struct Follower {
    port: HostPort,
    session: Arc<Session>,
    recorder: Recorder,
    setup: Setup,
    files: Vec<attest_manifest::FilePlan>,
    booting_since: Instant,
}

impl Follower {
    async fn follow(mut self) {
        // The stream ends with the VMM; how that ended, the watcher of the VMM says.
        while let Ok((link, hello)) = self.port.accept().await {
            let name = self.session.machine.clone();
            self.recorder
                .machine_phase(&name, Phase::Boot, self.booting_since.elapsed());
            self.recorder.record_machine(
                &name,
                EventKind::AgentUp {
                    version: hello.version.clone(),
                    generation: hello.generation,
                },
            );
            let up = Instant::now();
            self.session.state.send_if_modified(|state| {
                let State::Booting(since) = *state else {
                    return false;
                };
                *state = State::Up(since);
                true
            });
            let state = match self.set_up(&link).await {
                Ok(()) => State::Ready(Arc::new(Ready {
                    link: link.clone(),
                    hello,
                })),
                Err(Some(error)) => State::Broken(Arc::new(error)),
                Err(None) => State::Booting(self.booting_since),
            };
            self.recorder
                .machine_phase(&name, Phase::Agent, up.elapsed());
            self.become_state(state);
            let _ = link.ended().await;
            self.booting_since = Instant::now();
            self.become_state(State::Booting(self.booting_since));
        }
    }

    /// An end that was seen meanwhile stays.
    fn become_state(&self, next: State) {
        self.session.state.send_if_modified(|state| {
            let goes_on = !matches!(state, State::Off | State::Ended(..));
            if goes_on {
                *state = next;
            }
            goes_on
        });
    }

    /// `Err(None)` when the link broke: the guest boots again or has ended.
    async fn set_up(&self, link: &HostLink) -> Result<(), Option<Error>> {
        self.request(link, &Request::Setup(setup::freshen(self.setup.clone())))
            .await?;
        for file in &self.files {
            let channel = link
                .open(&copy::upload_request(&file.path))
                .map_err(|_| None)?;
            copy::upload(&self.session, channel, copy::Source::of(file))
                .await
                .map_err(Some)?;
        }
        Ok(())
    }

    async fn request(&self, link: &HostLink, request: &Request) -> Result<(), Option<Error>> {
        let lost = |_: LinkError| None;
        let mut channel = link.open(request).map_err(lost)?;
        loop {
            if let Incoming::Finished(result) = channel.receiver.next().await.map_err(lost)? {
                let failed = |failure| Some(self.session.failure("set-up", failure));
                return result.map(drop).map_err(failed);
            }
        }
    }
}

/// Tell the session how the VMM ended, unless attest ended it.
async fn follow_ending(running: &dyn Running, session: &Session, recorder: &Recorder) {
    let ending = running.ended().await;
    // Whoever hears of the end may look at the console's.
    session.console.drained().await;
    let kind = match ending.kind {
        EndingKind::Killed => return,
        EndingKind::PoweredOff => MachineEnding::PoweredOff,
        EndingKind::Reset => MachineEnding::Reset,
        EndingKind::Panic => MachineEnding::Panic,
        EndingKind::TripleFault => MachineEnding::TripleFault,
        EndingKind::VmmCrashed | EndingKind::LabEnded => MachineEnding::VmmCrashed,
    };
    let detail: Arc<str> = ending.detail.clone().into();
    let news = session.state.send_if_modified(|state| {
        let runs = !matches!(state, State::Off);
        if runs {
            *state = State::Ended(kind, detail);
        }
        runs
    });
    if news {
        recorder.record_machine(
            &session.machine,
            EventKind::MachineEnded {
                ending: kind,
                detail: ending.detail,
            },
        );
    }
}
