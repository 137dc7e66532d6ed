//! From a run's events to what the user sees, and labs for the interactive subcommands.

use std::time::Instant;

use attest::events::EventKind;
use attest::manifest::{LabPlan, Manifest};
use attest::run::{OutputDirectory, Overrides};
use attest::{EventStream, Lab, LabContext, Machine, Recorder, Snapshot};
use attest_report::{Look, Reader, Readers, Terminal, Verbosity as Level};
use futures_util::FutureExt;
use tokio::task::JoinHandle;

use crate::arguments;
use crate::failure::Failure;

impl From<&arguments::Verbosity> for Level {
    fn from(verbosity: &arguments::Verbosity) -> Self {
        match verbosity {
            arguments::Verbosity { quiet: true, .. } => Self::Quiet,
            arguments::Verbosity { verbose: true, .. } => Self::Verbose,
            arguments::Verbosity { .. } => Self::Normal,
        }
    }
}

impl From<&arguments::Lab> for Overrides {
    fn from(lab: &arguments::Lab) -> Self {
        Self {
            kernel: lab.kernel.clone(),
            accelerator: lab.accel.map(|accel| match accel {
                arguments::Accel::Kvm => attest::Accelerator::Kvm,
                arguments::Accel::Tcg => attest::Accelerator::Tcg,
            }),
            backend: lab.backend.map(|backend| match backend {
                arguments::Backend::Qemu => attest::Backend::Qemu,
                arguments::Backend::Firecracker => attest::Backend::Firecracker,
                arguments::Backend::CloudHypervisor => attest::Backend::CloudHypervisor,
                arguments::Backend::Nspawn => attest::Backend::Nspawn,
                arguments::Backend::Ssh => attest::Backend::Ssh,
            }),
            ..Self::default()
        }
    }
}

/// Give every event to the readers, until the run is over, whoever still holds a recorder: an image
/// that was being built when the run was interrupted ends with the process. A reader that cannot write (a closed
/// pipe) must not end the run: its first error is given back instead. Somebody else has every event first.
pub(crate) fn pump_with(
    mut events: EventStream,
    mut readers: Readers,
    first: impl Fn(&attest::events::Event) + Send + 'static,
) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(async move {
        let mut outcome = Ok(());
        while let Some(event) = events.next().await {
            first(&event);
            outcome = outcome.and(readers.event(&event));
            if let EventKind::RunEnded { .. } = event.kind {
                break;
            }
        }
        outcome.and(readers.finish())
    })
}

/// Do this, and give the readers all events until its end, and none after it.
async fn show_during<T>(
    work: impl Future<Output = T>,
    mut events: EventStream,
    mut readers: Readers,
) -> (T, std::io::Result<()>) {
    tokio::pin!(work);
    let mut shown = Ok(());
    let done = loop {
        tokio::select! {
            biased;
            Some(event) = events.next() => shown = shown.and(readers.event(&event)),
            done = &mut work => break done,
        }
    };
    while let Some(Some(event)) = events.next().now_or_never() {
        shown = shown.and(readers.event(&event));
    }
    (done, shown.and(readers.finish()))
}

/// The terminal's reader, on stderr: stdout belongs to the guests and to `--format json`.
pub(crate) fn terminal(verbosity: &arguments::Verbosity) -> Terminal<std::io::Stderr> {
    Terminal::new(std::io::stderr(), Look::of_stderr(), verbosity.into())
}

/// A lab for a person, without tests.
pub(crate) struct LabSession {
    lab: Lab,
    /// The machine that it was booted for.
    pub(crate) machine: Machine,
}

impl LabSession {
    /// The lab of a manifest, or one that was kept, for one of its machines; shows how it comes to be there.
    pub(crate) async fn open(
        place: &arguments::Place,
        machine: Option<&str>,
        verbosity: &arguments::Verbosity,
    ) -> Result<Self, Failure> {
        let (recorder, events) = Recorder::new(Instant::now());
        let mut readers = Readers::new();
        readers.add(terminal(verbosity));
        let opening = async {
            match &place.snapshot {
                Some(name) => Self::kept(name, place, machine, recorder).await,
                None => Self::boot(place, machine, recorder).await,
            }
        };
        // From then on the terminal is the command's.
        let (session, shown) = show_during(opening, events, readers).await;
        let session = session?;
        shown.map_err(|error| {
            Failure::infrastructure(format!("error: stderr cannot be written: {error}"))
        })?;
        Ok(session)
    }

    async fn boot(
        place: &arguments::Place,
        machine: Option<&str>,
        recorder: Recorder,
    ) -> Result<Self, Failure> {
        let manifest = Manifest::load(&place.manifest).map_err(attest::Error::from)?;
        let mut plan = manifest.plan().map_err(attest::Error::from)?;
        let machine = named(&plan, machine)?;
        Overrides::from(&place.lab).apply(&mut plan);
        let context = context(place, recorder)?;
        let lab = Lab::boot(plan, Some(context)).await?;
        Ok(Self {
            machine: lab.machine(&machine)?,
            lab,
        })
    }

    /// A fork of a lab that was kept.
    async fn kept(
        name: &str,
        place: &arguments::Place,
        machine: Option<&str>,
        recorder: Recorder,
    ) -> Result<Self, Failure> {
        let snapshot = Snapshot::of_failed(name, context(place, recorder)?).await?;
        let machine = named(snapshot.plan(), machine)?;
        let lab = snapshot.fork().await?;
        Ok(Self {
            machine: lab.machine(&machine)?,
            lab,
        })
    }

    /// End the lab.
    pub(crate) async fn end(self) {
        self.lab.shutdown().await;
    }
}

fn context(place: &arguments::Place, recorder: Recorder) -> Result<LabContext, Failure> {
    Ok(LabContext {
        recorder,
        output: OutputDirectory::create_default()?.into_path(),
        cache: place.lab.cache.clone(),
        snapshots: place.saved.snapshots(),
    })
}

/// The machine of this name, or the only one.
fn named(plan: &LabPlan, name: Option<&str>) -> Result<String, Failure> {
    let names: Vec<&str> = plan
        .machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect();
    let known = names.join(", ");
    match (name, names.as_slice()) {
        (_, []) => Err(Failure::usage("error: the lab has no machine")),
        (Some(name), _) if !names.contains(&name) => Err(Failure::usage(format!(
            "error: there is no machine `{name}`; the lab has: {known}"
        ))),
        (Some(only), _) | (None, &[only]) => Ok(only.to_owned()),
        (None, _) => Err(Failure::usage(format!(
            "error: which machine? The lab has: {known}"
        ))),
    }
}
