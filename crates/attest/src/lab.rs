//! A lab: the machines and networks of one test, alive together.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use attest_events::{EventKind, Part, Phase, ProcessKind, nanoseconds};
use attest_lab::LabProcess;
use attest_manifest::{LabPlan, Manifest, ManifestFile, NetworkPlan};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::console::Console;
use crate::error::{Error, Result};
use crate::machine::{Inner, Machine};
use crate::recorder::Recorder;
use crate::runtime::wait_all;
use crate::scripts::LabOfScripts;
use crate::session::{Session, State};
use crate::snapshot::{self, SnapshotUse};
use crate::{boot, limit::Limit, run::OutputDirectory};

/// The machines and networks of one test, alive together.
///
/// Everything of a lab lives in one process with its own namespaces; dropping the lab ends it,
/// and the kernel takes every machine and network with it. Clones are the same lab.
#[derive(Debug, Clone)]
pub struct Lab {
    pub(crate) shared: Arc<Shared>,
    machines: Arc<[Machine]>,
    /// Those that were made later; only labs of start scripts have any.
    pub(crate) added: Arc<RwLock<Vec<Machine>>>,
    pub(crate) process: Arc<LabProcess>,
}

/// What the machines of a lab share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: LabPlan,
    pub(crate) process: Arc<LabProcess>,
    /// What its process had used when the last of its machines was about to start: until then, all waited for it.
    pub(crate) waited_ns: AtomicU64,
    /// What it had used before anybody waited for it.
    pub(crate) used_ahead: Duration,
    /// Of machines that have not started yet.
    pub(crate) wires: boot::Wires,
    pub(crate) images: Arc<boot::Images>,
    pub(crate) backends: Arc<boot::Backends>,
    /// Starts processes for labs of the same plan.
    pub(crate) ahead: Arc<boot::Ahead>,
    pub(crate) agent: tokio::sync::OnceCell<PathBuf>,
    /// Only in labs of start scripts.
    pub(crate) scripts: Option<LabOfScripts>,
    pub(crate) recorder: Recorder,
    pub(crate) output: PathBuf,
    /// What is being written of it, or what it goes on from.
    pub(crate) kept: std::sync::Mutex<Option<snapshot::Kept>>,
}

impl Shared {
    /// A machine is about to start. While the lab comes up, all wait for the last of its machines.
    pub(crate) fn machine_starts(&self) {
        if matches!(self.recorder.phase(), Some(Phase::Spawn | Phase::Restore))
            && let Some(used) = crate::cpu_of_process(self.process.pid())
        {
            let waited = used.saturating_sub(self.used_ahead);
            self.waited_ns.fetch_max(nanoseconds(waited), Relaxed);
        }
    }

    pub(crate) fn prepared(&self) -> boot::Prepared {
        boot::Prepared {
            images: Arc::clone(&self.images),
            backends: Arc::clone(&self.backends),
            ahead: Arc::clone(&self.ahead),
        }
    }
}

/// A network of a lab.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    plan: &'a NetworkPlan,
}

impl Network<'_> {
    /// As in the manifest.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its subnets and MTU.
    pub fn plan(&self) -> &NetworkPlan {
        self.plan
    }
}

/// Where a lab's files and events go.
#[derive(Debug, Clone)]
pub struct LabContext {
    /// Receives the lab's events.
    pub recorder: Recorder,
    /// An existing directory for consoles and logs.
    pub output: PathBuf,
    /// Read instead of the default cache directory.
    pub cache: Option<PathBuf>,
    /// Whether it may go on from where it was saved before, in place of booting.
    pub snapshots: SnapshotUse,
}

impl LabContext {
    /// No events, and a fresh directory.
    fn silent() -> Result<Self> {
        Ok(Self {
            recorder: Recorder::silent(),
            output: OutputDirectory::create_default()?.into_path(),
            cache: None,
            snapshots: SnapshotUse::default(),
        })
    }
}

impl Lab {
    /// Declare a lab in code.
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// Boot the lab of a manifest: a file, or a directory with an `attest.toml`; or let it go on from where an
    /// equal one had booted, see [`SnapshotUse`].
    pub async fn from_manifest(path: impl AsRef<Path>) -> Result<Self> {
        let manifest = Manifest::load(path.as_ref())?;
        Self::boot(manifest.plan()?, None).await
    }

    /// Boot the lab of a plan, or let it go on from where an equal one had booted, see [`SnapshotUse`].
    ///
    /// # Errors
    /// It cannot be made, or a machine does not come up.
    pub async fn boot(plan: LabPlan, context: Option<LabContext>) -> Result<Self> {
        let context = match context {
            Some(context) => context,
            None => LabContext::silent()?,
        };
        let _aside = context.recorder.aside();
        // Much is held across its waits, and many are booted at once.
        Box::pin(snapshot::booted(plan, context)).await
    }

    /// Make the lab process and its networks, with every machine off.
    pub async fn create(plan: LabPlan, context: LabContext) -> Result<Self> {
        let recorder = &context.recorder;
        let _aside = recorder.aside();
        recorder.lab_started(plan.machines.iter().map(|machine| &machine.name));
        let prepared = boot::prepare(&plan, recorder, context.cache.as_deref()).await?;
        Self::create_prepared(plan, context, prepared, Phase::Spawn).await
    }

    /// The same with images that are there, in this phase.
    pub(crate) async fn create_prepared(
        plan: LabPlan,
        context: LabContext,
        prepared: boot::Prepared,
        phase: Phase,
    ) -> Result<Self> {
        let recorder = context.recorder;
        recorder.enter(phase);
        recorder.part(Part::LabProcess);
        let taken = prepared.ahead.take(&plan).await?;
        recorder.part(Part::Start);
        Ok(Self::of(Shared {
            plan,
            process: Arc::new(taken.process),
            waited_ns: AtomicU64::new(0),
            used_ahead: taken.used_ahead,
            wires: taken.wires,
            images: prepared.images,
            backends: prepared.backends,
            ahead: prepared.ahead,
            agent: tokio::sync::OnceCell::new(),
            scripts: None,
            recorder,
            output: context.output,
            kept: std::sync::Mutex::new(None),
        }))
    }

    /// What is done with this lab takes its time: where another of its plan is expected, its process starts meanwhile.
    pub(crate) fn start_ahead(&self) {
        let Shared {
            ahead,
            plan,
            backends,
            ..
        } = &*self.shared;
        ahead.fill(plan, backends);
    }

    /// Let the memory of each machine's next start be in a file of its name in this directory.
    pub(crate) fn keep_memory(&self, directory: &Path) -> Result<()> {
        for machine in self.machines() {
            let file = snapshot::memory_in(directory, machine)?;
            *machine.inner.memory.lock().expect("not poisoned") = Some(file);
        }
        Ok(())
    }

    /// With every machine of the plan off.
    pub(crate) fn of(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let plans = shared.plan.machines.iter();
        Self {
            machines: plans.map(|plan| machine(&shared, plan)).collect(),
            added: Arc::default(),
            process: Arc::clone(&shared.process),
            shared,
        }
    }

    /// Start all machines at once and wait until all are ready.
    pub async fn start_all(&self) -> Result<()> {
        let recorder = &self.shared.recorder;
        let machines = self.all_machines();
        let started = wait_all(machines.iter().map(Machine::start)).await;
        started.into_iter().collect::<Result<()>>()?;
        recorder.enter(Phase::Boot);
        let up = wait_all(machines.iter().map(Machine::up)).await;
        up.into_iter().collect::<Result<()>>()?;
        recorder.enter(Phase::Agent);
        let ready = wait_all(machines.iter().map(Machine::ready)).await;
        ready.into_iter().collect::<Result<()>>()
    }

    /// A machine by its name.
    pub fn machine(&self, name: &str) -> Result<Machine> {
        let machines = self.all_machines();
        let found = machines.iter().find(|machine| machine.name() == name);
        found.cloned().ok_or_else(|| Error::UnknownMachine {
            name: name.to_owned(),
            known: machines
                .iter()
                .map(|machine| machine.name().to_owned())
                .collect(),
        })
    }

    /// All machines that it was made with, in the manifest's order.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// All machines, with those that were added, and without those that they replace.
    pub fn all_machines(&self) -> Vec<Machine> {
        let added = self.added.read().expect("not poisoned");
        let is_replaced = |machine: &&Machine| added.iter().any(|new| new.name() == machine.name());
        let first = self.machines.iter().filter(|machine| !is_replaced(machine));
        first.chain(&*added).cloned().collect()
    }

    /// All networks, in the manifest's order.
    pub fn networks(&self) -> impl Iterator<Item = Network<'_>> {
        self.shared
            .plan
            .networks
            .iter()
            .map(|plan| Network { plan })
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }

    /// Where this lab's consoles and logs are.
    pub fn output(&self) -> &Path {
        &self.shared.output
    }

    /// The process that holds the lab, on the host: for fault injection.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Resolves when no test can go on here, with why: the lab process has died without being
    /// asked, or what a machine prints cannot be kept any more.
    pub async fn ended(&self) -> Error {
        let machines = self.all_machines();
        let consoles = machines.iter().map(|machine| machine.console().lost());
        let mut lost: FuturesUnordered<_> = consoles.collect();
        tokio::select! {
            died = self.process.ended() => Error::Lab(died),
            Some(lost) = lost.next() => lost,
        }
    }

    /// Let a test use this lab until it ends, its time is out, or the lab cannot go on.
    pub(crate) async fn lend<T>(&self, limit: Limit, test: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            outcome = tokio::time::timeout_at(limit.at, test) => {
                outcome.map_err(|_| limit.passed(&self.shared.recorder))
            }
            ended = self.ended() => Err(ended),
        }
    }

    /// End everything at once and wait until the kernel has. Nothing in the guests is asked:
    /// their disks end with them.
    pub async fn shutdown(&self) {
        self.end().await;
        self.shared.recorder.record(EventKind::LabEnded);
    }

    /// The same, of one that was only a step on the way to the lab that is told of.
    pub(crate) async fn end(&self) {
        let machines = self.all_machines();
        for machine in &machines {
            machine.expect_end();
        }
        let Shared {
            recorder,
            waited_ns,
            ..
        } = &*self.shared;
        let _aside = recorder.aside();
        let used = crate::cpu_of_process(self.pid());
        let waited = Duration::from_nanos(waited_ns.load(Relaxed));
        recorder.cpu_used(ProcessKind::Lab, used, waited);
        recorder.part(Part::LabEnd);
        // One that is still starting is let go of when the lab's end makes that fail.
        let forgotten = wait_all(machines.iter().map(Machine::forget));
        tokio::join!(self.process.end(), forgotten);
        if let Some(scripts) = &self.shared.scripts {
            scripts.clear(&machines);
        }
        let kept = self.shared.kept.lock().expect("not poisoned").take();
        if let Some(kept) = kept {
            recorder.part(Part::Keep);
            kept.written().await;
        }
    }

    /// The lab where this went well; else it is shut down.
    pub(crate) async fn unless_failed(self, result: Result<()>) -> Result<Self> {
        match result {
            Ok(()) => Ok(self),
            Err(error) => {
                self.shutdown().await;
                Err(error)
            }
        }
    }
}

pub(crate) fn machine(shared: &Arc<Shared>, plan: &attest_manifest::MachinePlan) -> Machine {
    let file = shared.output.join(format!("{}.console.log", plan.name));
    let console = Arc::new(Console::new(&plan.name, &file));
    let session = Session {
        goes_on: std::sync::atomic::AtomicBool::new(false),
        machine: plan.name.clone(),
        state: tokio::sync::watch::Sender::new(State::Off),
        boot_timeout: shared.plan.timeouts.boot,
        console,
    };
    Machine {
        inner: Arc::new(Inner {
            plan: plan.clone(),
            session: Arc::new(session),
            lab: Arc::downgrade(shared),
            recorder: shared.recorder.clone(),
            timeouts: shared.plan.timeouts.clone(),
            live: Arc::default(),
            memory: std::sync::Mutex::new(None),
            root: std::sync::Mutex::new(None),
            managers: crate::systemd::Managers::default(),
            journals: crate::systemd::Journals::default(),
            observer: std::sync::Mutex::new(None),
            is_being_made: AtomicBool::new(false),
        }),
    }
}

/// A lab declared in code: the same that a manifest declares, checked the same way.
#[must_use = "a builder does nothing until it boots"]
#[derive(Debug, Default)]
pub struct LabBuilder {
    file: ManifestFile,
    context: Option<LabContext>,
    pub(crate) snapshots: Option<SnapshotUse>,
}

impl LabBuilder {
    /// Add a network with the default subnet and MTU.
    pub fn network(mut self, name: &str) -> Self {
        self.file
            .networks
            .insert(name.to_owned(), attest_manifest::Network::default());
        self
    }

    /// Add a machine with the defaults, on every network.
    pub fn machine(self, name: &str) -> Self {
        self.machine_with(name, |_| {})
    }

    /// Add a machine and set what is not default.
    ///
    /// ```no_run
    /// let lab = attest::Lab::builder().machine_with("db", |machine| {
    ///     machine.vcpus = Some(2);
    /// });
    /// ```
    pub fn machine_with(
        mut self,
        name: &str,
        set: impl FnOnce(&mut attest_manifest::Machine),
    ) -> Self {
        let mut machine = attest_manifest::Machine::default();
        set(&mut machine);
        self.file.machines.insert(name.to_owned(), machine);
        self
    }

    /// Declare an image, for machines to name.
    pub fn image(mut self, name: &str, image: attest_manifest::ImageDefinition) -> Self {
        self.file.images.insert(name.to_owned(), image);
        self
    }

    /// How long a machine may take from its start until its agent answers. Default: 60 s.
    pub fn boot_timeout(mut self, timeout: Duration) -> Self {
        self.file.timeouts.boot = Some(timeout.into());
        self
    }

    /// Where its events and files go. Default: no events, and a fresh directory.
    pub fn context(mut self, context: LabContext) -> Self {
        self.context = Some(context);
        self
    }

    /// Whether it may go on from where an equal one had booted, whatever its context or `$ATTEST_SNAPSHOTS` says.
    ///
    /// ```no_run
    /// # async fn f() -> attest::Result<()> {
    /// use attest::{Lab, SnapshotUse};
    ///
    /// let fresh = Lab::builder().machine("a").snapshots(SnapshotUse::Never).boot().await?;
    /// # Ok(()) }
    /// ```
    pub fn snapshots(mut self, snapshots: SnapshotUse) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// Check it and give its plan.
    pub fn plan(&self) -> Result<LabPlan> {
        Ok(self.file.clone().plan()?)
    }

    /// Check it, make it, and boot all machines; or let it go on from where an equal one had booted, see
    /// [`SnapshotUse`].
    pub async fn boot(self) -> Result<Lab> {
        let plan = self.plan()?;
        let mut context = match self.context {
            Some(context) => context,
            None => LabContext::silent()?,
        };
        context.snapshots = self.snapshots.unwrap_or(context.snapshots);
        Lab::boot(plan, Some(context)).await
    }
}
