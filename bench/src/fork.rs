//! What it takes to go on from a snapshot, and what is left of it.
//!
//! Beside each fork, in the same round: QEMU alone that loads the same state, see [`crate::incoming`].

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use attest::manifest::{Machine as MachineDefinition, ManifestFile, Network};
use attest::{Lab, LabContext, Recorder, Snapshot, SnapshotUse, wait_all};
use attest_image::store::{SnapshotSettings, SnapshotStore, about_lab};
use attest_image::{Cache, Caches};
use attest_lab::{LabContent, LabProcess, NetworkSpec};

use crate::Result;
use crate::figure::{Compared, Report, median_ms};
use crate::host::{Holdings, Private, age, megabytes};
use crate::incoming::{self, Bare};

const SAMPLES: usize = 9;
/// Milliseconds from QEMU's exec.
const EXEC: f64 = 250.0;
/// What a restore may take in place of QEMU alone.
const MARGIN: f64 = 1.5;
const AT_ONCE: usize = 8;
/// Megabytes.
const PRIVATE: f64 = 8.0;
/// How often a snapshot is gone on from in a row; with `--full`, and without.
const RESTORES: (usize, usize) = (500, 50);

pub(crate) async fn run(report: &Report, is_full: bool) -> Result<()> {
    let one = Saved::make(1).await?;
    one.speed(report, "one").await?;
    one.memory(report).await?;
    let restores = if is_full { RESTORES.0 } else { RESTORES.1 };
    one.in_a_row(report, restores).await?;
    one.end().await?;
    let three = Saved::make(3).await?;
    three.speed(report, "three").await?;
    three.end().await
}

/// A lab that was saved, and is kept as well.
struct Saved {
    manifest: ManifestFile,
    /// What was booted; it goes on beside its forks.
    lab: Lab,
    snapshot: Snapshot,
    output: tempfile::TempDir,
    caches: Caches,
    /// Its entry among what is kept.
    kept: PathBuf,
}

impl Saved {
    /// Of so many bare guests of 256 MiB, on one network.
    async fn make(machines: usize) -> Result<Self> {
        let own = std::process::id();
        let mut manifest = ManifestFile {
            name: Some(format!("attest-bench-{own}-{machines}")),
            ..ManifestFile::default()
        };
        manifest
            .networks
            .insert("lan".to_owned(), Network::default());
        for number in 0..machines {
            // A name that nobody else has, so that it is made here.
            let name = format!("guest{number}-{own}");
            manifest.machines.insert(name, MachineDefinition::default());
        }
        let output = tempfile::tempdir()?;
        let first = boot(&manifest, output.path()).await?;
        first.shutdown().await;
        let lab = boot(&manifest, output.path()).await?;
        let snapshot = lab.snapshot().await?;
        let settings = SnapshotSettings::from_environment(Cache::default_directory()?, None);
        let caches = SnapshotStore::open(&settings)?.caches();
        let entries = caches.ls()?.into_iter();
        let is_it = |path: &Path| {
            about_lab(path).is_some_and(|about| about["lab"].as_str() == manifest.name.as_deref())
        };
        let kept = entries.map(|entry| entry.path).find(|path| is_it(path));
        Ok(Self {
            kept: kept.ok_or("attest kept no snapshot")?,
            manifest,
            lab,
            snapshot,
            output,
            caches,
        })
    }

    async fn end(self) -> Result<()> {
        self.lab.shutdown().await;
        drop((self.snapshot, self.lab));
        let name = self.kept.file_name().ok_or("an entry without a name")?;
        self.caches.rm(&name.to_string_lossy())?;
        Ok(())
    }

    async fn speed(&self, report: &Report, name: &str) -> Result<()> {
        let mut times = Times::default();
        for sample in 0..=SAMPLES {
            let (fork, bare) = self.forked().await?;
            let alone = self.alone(bare).await?;
            let kept = self.boot_again().await?;
            // The first one reads programs and files that are cached then.
            if sample > 0 {
                times.forks.push(fork);
                times.alone.push(alone);
                times.kept.push(kept);
            }
        }
        times.report(report, name);
        Ok(())
    }

    /// A fork, and how its QEMUs were started.
    async fn forked(&self) -> Result<(Fork, Vec<Bare>)> {
        let began = Instant::now();
        let fork = self.snapshot.fork().await?;
        let ready = Instant::now();
        let pids = answered(&fork).await?;
        let (total, now) = (began.elapsed(), SystemTime::now());
        let mut since_exec = Duration::ZERO;
        for pid in &pids {
            since_exec = since_exec.max(age(*pid)?);
        }
        let mut resumed = UNIX_EPOCH;
        for machine in fork.machines() {
            resumed = resumed.max(UNIX_EPOCH + crate::snapshot::resumed(machine).await?);
        }
        let times = Fork {
            total,
            since_exec,
            runs: now.duration_since(resumed)?,
            command: total.saturating_sub(ready - began),
        };
        let mut bare = Vec::new();
        for (machine, pid) in fork.machines().iter().zip(pids) {
            let place = |part: &str| self.kept.join(format!("{}.{part}", machine.name()));
            bare.push(Bare {
                command: crate::boot::command_line(pid)?,
                memory: place("memory"),
                devices: place("devices"),
            });
        }
        fork.shutdown().await;
        Ok((times, bare))
    }

    /// QEMU alone; the networks are there before.
    async fn alone(&self, machines: Vec<Bare>) -> Result<Duration> {
        let lan = NetworkSpec {
            name: "lan".to_owned(),
            mtu: 1500,
            addresses: Vec::new(),
        };
        let lab = LabProcess::start(attest_embed::LAB, &[lan], LabContent::Programs).await?;
        let mut taps = Vec::new();
        for _ in &machines {
            taps.push(vec![lab.tap("lan").await?]);
        }
        let took = tokio::task::spawn_blocking(move || incoming::go_on(&machines, &taps)).await??;
        lab.end().await;
        Ok(took)
    }

    /// From the plan to the first output, by what is kept: what a second run of `attest` does.
    async fn boot_again(&self) -> Result<Duration> {
        let output = tempfile::tempdir()?;
        let began = Instant::now();
        let lab = boot(&self.manifest, output.path()).await?;
        answered(&lab).await?;
        let took = began.elapsed();
        lab.shutdown().await;
        Ok(took)
    }

    /// What forks do not share, when they have done nothing but answer and sleep for a second.
    async fn memory(&self, report: &Report) -> Result<()> {
        let forks = (0..AT_ONCE).map(|_| self.snapshot.fork());
        let forks = wait_all(forks.collect::<Vec<_>>()).await;
        let forks = forks.into_iter().collect::<attest::Result<Vec<_>>>()?;
        let sleeping = forks
            .iter()
            .map(|fork| fork.machines()[0].exec(["sleep", "1"]));
        let slept = wait_all(sleeping.map(IntoFuture::into_future).collect::<Vec<_>>()).await;
        slept.into_iter().collect::<attest::Result<Vec<_>>>()?;
        let (mut guest, mut translated, mut other) = (Vec::new(), Vec::new(), Vec::new());
        for fork in &forks {
            let machine = &fork.machines()[0];
            let pid = machine.vmm_pid().await.ok_or("the machine has no VMM")?;
            let private = Private::of(pid, machine.plan().memory)?;
            guest.push(megabytes(private.guest));
            translated.push(megabytes(private.translated));
            other.push(megabytes(private.other));
        }
        wait_all(forks.iter().map(Lab::shutdown).collect::<Vec<_>>()).await;
        let figures = [
            ("fork/idle-guest-pages", &guest, Some(PRIVATE)),
            ("fork/idle-translated-code", &translated, None),
            ("fork/idle-qemu-heap", &other, None),
        ];
        for (name, samples, budget) in figures {
            report.figure(name, samples, "MB", budget, "lower", None);
        }
        Ok(())
    }

    /// One after the other; nothing is to be left of them.
    async fn in_a_row(&self, report: &Report, times: usize) -> Result<()> {
        let mut before = None;
        let mut took = Vec::new();
        for number in 0..times {
            let began = Instant::now();
            let fork = self.snapshot.fork().await?;
            answered(&fork).await?;
            fork.shutdown().await;
            took.push(began.elapsed());
            // Each has a directory for its console.
            std::fs::remove_dir_all(fork.output())?;
            // What every process allocates once is there after some.
            if number + 1 == times.div_ceil(10) {
                before = Some(self.holdings()?);
            }
        }
        let (before, after) = (before.ok_or("nothing was restored")?, self.holdings()?);
        report.milliseconds("fork/in-a-row", &took, None, None);
        for ((name, unit, was), (_, _, is)) in before.figures().into_iter().zip(after.figures()) {
            let then = Compared {
                what: "before",
                median: was,
            };
            // What an allocator keeps is no leak, but is to be seen.
            let budget = (name != "resident").then_some(was);
            let name = format!("fork/left-{name}");
            report.figure(&name, &[is], unit, budget, "lower", Some(then));
        }
        Ok(())
    }

    /// What this process has, and the files of the snapshot and of the lab.
    fn holdings(&self) -> Result<Holdings> {
        let store = self.kept.parent().ok_or("an entry without a place")?;
        let name = self.kept.file_name().ok_or("an entry without a name")?;
        let places = [(store, &*name.to_string_lossy()), (self.output.path(), "")];
        Holdings::now(&places)
    }
}

/// All its machines say something; gives the QEMUs.
async fn answered(lab: &Lab) -> Result<Vec<u32>> {
    let asking = lab.machines().iter().map(|machine| machine.exec(["true"]));
    let answers = wait_all(asking.map(IntoFuture::into_future).collect::<Vec<_>>()).await;
    answers.into_iter().collect::<attest::Result<Vec<_>>>()?;
    let mut pids = Vec::new();
    for machine in lab.machines() {
        pids.push(machine.vmm_pid().await.ok_or("the machine has no VMM")?);
    }
    Ok(pids)
}

/// As a run of `attest` does: from what is kept, where something is.
async fn boot(manifest: &ManifestFile, output: &Path) -> Result<Lab> {
    let context = LabContext {
        recorder: Recorder::silent(),
        output: output.to_owned(),
        cache: None,
        snapshots: SnapshotUse::Auto,
    };
    Ok(Lab::boot(manifest.clone().plan()?, Some(context)).await?)
}

/// How long before a fork's first output each of these was.
struct Fork {
    /// The call.
    total: Duration,
    /// QEMU's exec, or that of the first.
    since_exec: Duration,
    /// The guest's first instruction, or that of the last.
    runs: Duration,
    /// The fork was ready, and the command was given.
    command: Duration,
}

#[derive(Default)]
struct Times {
    forks: Vec<Fork>,
    alone: Vec<Duration>,
    kept: Vec<Duration>,
}

impl Times {
    fn report(&self, report: &Report, name: &str) {
        let of = |time: fn(&Fork) -> Duration| self.forks.iter().map(time).collect::<Vec<_>>();
        let since_exec = of(|fork| fork.since_exec);
        let to_run = of(|fork| fork.since_exec.saturating_sub(fork.runs));
        let to_ready = of(|fork| fork.runs.saturating_sub(fork.command));
        let compared = || Compared {
            what: "QEMU alone, start and incoming",
            median: median_ms(&self.alone),
        };
        let totals = [
            ("exec-to-first-output", &since_exec, Some(EXEC)),
            ("start-to-first-output", &of(|fork| fork.total), None),
            ("from-cache-to-first-output", &self.kept, None),
            ("exec-to-guest-runs", &to_run, None),
        ];
        for (what, samples, budget) in totals {
            let name = format!("fork/{name}-{what}");
            report.milliseconds(&name, samples, budget, Some(compared()));
        }
        let parts = [
            ("guest-runs-to-ready", &to_ready),
            ("ready-to-first-output", &of(|fork| fork.command)),
        ];
        for (what, samples) in parts {
            report.milliseconds(&format!("fork/{name}-{what}"), samples, None, None);
        }
        let name = format!("fork/{name}-exec-to-qemu-alone");
        report.ratio(&name, &since_exec, &self.alone, MARGIN);
    }
}
