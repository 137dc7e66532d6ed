//! From a run's events to what the user sees, and labs for the interactive subcommands.

use std::path::Path;
use std::time::Instant;

use attest::manifest::Manifest;
use attest::run::{OutputDirectory, Overrides};
use attest::{EventStream, Lab, LabContext, Machine, Recorder};
use attest_report::{Look, Reader, Readers, Terminal, Verbosity as Level};
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
        }
    }
}

/// Give every event to the readers, until the run is over. A reader that cannot write (a closed
/// pipe) must not end the run: its first error is given back instead.
pub(crate) fn pump(
    mut events: EventStream,
    mut readers: Readers,
) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(async move {
        let mut outcome = Ok(());
        while let Some(event) = events.next().await {
            outcome = outcome.and(readers.event(&event));
        }
        outcome.and(readers.finish())
    })
}

/// The terminal's reader, on stderr: stdout belongs to the guests and to `--format json`.
pub(crate) fn terminal(verbosity: &arguments::Verbosity) -> Terminal<std::io::Stderr> {
    Terminal::new(std::io::stderr(), Look::of_stderr(), verbosity.into())
}

/// A lab for a person, without tests.
pub(crate) struct LabSession {
    pub(crate) lab: Lab,
    recorder: Recorder,
    pumping: JoinHandle<std::io::Result<()>>,
}

impl LabSession {
    /// Boot the lab of a manifest, showing how it goes.
    pub(crate) async fn boot(
        manifest: &Path,
        options: &arguments::Lab,
        verbosity: &arguments::Verbosity,
    ) -> Result<Self, Failure> {
        let mut plan = Manifest::load(manifest)
            .map_err(attest::Error::from)?
            .plan()
            .map_err(attest::Error::from)?;
        Overrides::from(options).apply(&mut plan);
        let (recorder, events) = Recorder::new(Instant::now());
        let mut readers = Readers::new();
        readers.add(terminal(verbosity));
        let pumping = pump(events, readers);
        let context = LabContext {
            recorder: recorder.clone(),
            output: OutputDirectory::create_default()?.into_path(),
            cache: options.cache.clone(),
        };
        let lab = Lab::create(plan, context).await?;
        lab.start_all().await?;
        Ok(Self {
            lab,
            recorder,
            pumping,
        })
    }

    /// The machine, when there is exactly one.
    pub(crate) fn only_machine(&self) -> Result<Machine, Failure> {
        match self.lab.machines() {
            [machine] => Ok(machine.clone()),
            machines => {
                let names: Vec<&str> = machines.iter().map(Machine::name).collect();
                Err(Failure::usage(format!(
                    "error: which machine? The lab has: {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// End the lab.
    pub(crate) async fn end(self) {
        self.lab.shutdown().await;
        drop((self.lab, self.recorder));
        // What a broken stderr could not take, nobody can be told.
        let _ = self.pumping.await;
    }
}
