//! Runs of the `attest` command: what they took, and where the time went.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use attest::events::{Breakdown, Event, EventKind, Phase};
use attest::manifest::ManifestFile;
use tempfile::TempDir;

use crate::{Result, programs};

/// Where snapshots are kept in memory, by default.
const MEMORY: &str = "/dev/shm";

/// A manifest to run, with a place of its own for snapshots: what others keep is not touched, and
/// nothing is found that was not made here.
pub(crate) struct Runs {
    attest: PathBuf,
    manifest: PathBuf,
    place: TempDir,
    snapshots: TempDir,
    /// In place of what is on `PATH`.
    path: Option<PathBuf>,
}

/// One run that passed.
pub(crate) struct Ran {
    /// From the command's start to its end.
    pub(crate) took: Duration,
    pub(crate) events: Vec<Event>,
}

impl Runs {
    /// Of a manifest that is there: a file, or a directory with one.
    pub(crate) fn of(manifest: &Path) -> Result<Self> {
        let memory = Path::new(MEMORY);
        let snapshots = if memory.is_dir() {
            TempDir::new_in(memory)?
        } else {
            TempDir::new()?
        };
        Ok(Self {
            attest: programs::attest()?,
            manifest: manifest.to_owned(),
            place: TempDir::new()?,
            snapshots,
            path: None,
        })
    }

    /// Of one that is declared in code.
    pub(crate) fn of_declared(manifest: &ManifestFile) -> Result<Self> {
        let mut runs = Self::of(Path::new(""))?;
        runs.manifest = runs.place.path().join("attest.json");
        std::fs::write(&runs.manifest, serde_json::to_vec(manifest)?)?;
        Ok(runs)
    }

    /// Find programs in this directory first.
    pub(crate) fn with_path(mut self, directory: &Path) -> Self {
        self.path = Some(directory.to_owned());
        self
    }

    /// Run all tests of it, with snapshots `auto` or `never`.
    ///
    /// # Errors
    /// A test did not pass.
    pub(crate) fn run(&self, snapshots: &str, arguments: &[&str]) -> Result<Ran> {
        let mut command = self.command(snapshots, arguments)?;
        let began = Instant::now();
        let output = command.output()?;
        let took = began.elapsed();
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let events: Vec<Event> = lines
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()?;
        Ran { took, events }.passed(output.status, &output.stderr)
    }

    /// What [`Runs::run`] runs; it writes its events to stdout.
    pub(crate) fn command(&self, snapshots: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.attest);
        command.args(["run", "--format", "json"]).args(arguments);
        command
            .arg("--output")
            .arg(self.place.path().join("output"));
        command.arg(&self.manifest).current_dir(self.place.path());
        command.env("ATTEST_SNAPSHOTS", snapshots);
        command.env("ATTEST_SNAPSHOTS_DIR", self.snapshots.path());
        command.env_remove("ATTEST_SNAPSHOTS_SIZE");
        if let Some(first) = &self.path {
            let usual = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(first.clone()).chain(std::env::split_paths(&usual));
            command.env("PATH", std::env::join_paths(all)?);
        }
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// The files of all snapshots that are kept.
    pub(crate) fn kept(&self) -> Result<Vec<KeptFile>> {
        let mut files = Vec::new();
        collect(self.snapshots.path(), &mut files)?;
        Ok(files)
    }

    /// Keep none any more, so that the next run makes them again.
    pub(crate) fn forget(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.snapshots.path())? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A file of a snapshot.
pub(crate) struct KeptFile {
    pub(crate) name: String,
    /// Bytes of it that are no hole.
    pub(crate) written: u64,
}

fn collect(directory: &Path, files: &mut Vec<KeptFile>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(KeptFile {
                name: entry.file_name().to_string_lossy().into_owned(),
                // POSIX leaves the unit open; on Linux it is 512 bytes.
                written: about.blocks() * 512,
            });
        }
    }
    Ok(())
}

impl Ran {
    /// This run, unless it did not pass: then why not.
    pub(crate) fn passed(self, status: ExitStatus, stderr: &[u8]) -> Result<Self> {
        if status.success() {
            return Ok(self);
        }
        let said = String::from_utf8_lossy(stderr);
        let failures = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::TestEnded { failure, .. } => failure.as_ref(),
            _ => None,
        });
        let failures: Vec<&str> = failures.map(|failure| &*failure.message).collect();
        let failures = failures.join("\n");
        Err(format!("`attest run` ended with {status}: {said}\n{failures}").into())
    }

    /// Where the time of the whole run went.
    fn breakdown(&self) -> Breakdown {
        let ended = self
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::RunEnded { breakdown, .. } => Some(breakdown.clone()),
                _ => None,
            });
        ended.unwrap_or_default()
    }

    /// What the whole run spent in this phase.
    pub(crate) fn phase(&self, phase: Phase) -> Duration {
        let phases = self.breakdown().total.into_iter();
        let of_it = phases.filter(|part| part.phase == phase);
        of_it.map(|part| Duration::from_nanos(part.ns)).sum()
    }
}
