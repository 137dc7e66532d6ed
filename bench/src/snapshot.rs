//! What a snapshot takes: how long no machine of the lab runs, and how much is written.
//!
//! The way that counts is the one of `attest run`: memory is in a file from the boot on, so that only
//! devices are written while the lab is paused. QEMU's trace tells when its processors stop and when
//! those of its successor run. Beside it, in the same rounds: a lab whose memory is its VMMs' own, as
//! one has that is forked and saved again. There all memory is written; QEMU's events tell the same.

use std::path::Path;
use std::time::{Duration, Instant};

use attest::events::Phase;
use attest::manifest::{
    Machine as MachineDefinition, ManifestFile, Network, OneOrMany, Size, Step, Test,
};
use attest::{Backend, Lab, Machine, Snapshot, wait_all};
use serde_json::Value;

use crate::figure::{Compared, Report, median_ms};
use crate::host::megabytes;
use crate::runs::Runs;
use crate::start::{STATES, stand_in};
use crate::{Result, debian};

const SAMPLES: usize = 5;
const MACHINES: [&str; 3] = ["a", "b", "c"];
/// Bytes.
const MEMORY: u64 = 256 << 20;
/// Milliseconds.
const PAUSE: f64 = 100.0;

pub(crate) async fn run(report: &Report) -> Result<()> {
    let bare = three();
    let guest = Kept::new(&with_test(bare.clone()))?;
    let (mut kept, mut own, mut again) = <(Samples, Samples, Samples)>::default();
    for _ in 0..SAMPLES {
        kept.add(&guest.save()?);
        let (booted, forked) = match own_memory(&bare).await {
            Ok(saved) => saved,
            // Another event may have come first.
            Err(_) => own_memory(&bare).await?,
        };
        own.add(&booted);
        again.add(&forked);
    }
    kept.report(report, "three", Some((&own, "memory that is QEMU's own")));
    own.report(report, "three-own-memory", None);
    again.report(report, "three-fork-saved-again", None);
    debian_system(report)
}

/// A Debian that has booted, by its own manifest.
fn debian_system(report: &Report) -> Result<()> {
    if let Err(reason) = debian::image(&debian::cache()?)? {
        report.skipped("snapshot/debian", &reason);
        return Ok(());
    }
    let guest = Kept::new(&with_test(debian::manifest(Backend::Qemu, &["guest"], &[])))?;
    let mut saved = Samples::default();
    for _ in 0..SAMPLES.div_ceil(2) {
        saved.add(&guest.save()?);
    }
    saved.report(report, "debian", None);
    Ok(())
}

/// The lab of the budgets: three bare guests of 256 MiB, the default, on one network.
fn three() -> ManifestFile {
    let mut file = ManifestFile::default();
    file.networks.insert("lan".to_owned(), Network::default());
    for name in MACHINES {
        let machine = MachineDefinition::default();
        file.machines.insert(name.to_owned(), machine);
    }
    file.defaults.memory = Some(Size::from_bytes(MEMORY));
    file
}

/// With a test that does nothing.
fn with_test(mut file: ManifestFile) -> ManifestFile {
    let on = file.machines.keys().next().cloned().map(OneOrMany::One);
    let step = Step {
        on,
        argv: Some(vec!["true".to_owned()]),
        ..Step::default()
    };
    let test = Test {
        steps: Some(vec![step]),
        ..Test::default()
    };
    file.tests.insert("nothing".to_owned(), test);
    file
}

/// Of one snapshot.
struct Saved {
    pause: Duration,
    whole: Duration,
    /// Bytes of the devices' states.
    devices: u64,
    /// Bytes of the memory's files.
    memory: u64,
}

#[derive(Default)]
struct Samples {
    pauses: Vec<Duration>,
    wholes: Vec<Duration>,
    devices: Vec<f64>,
    memory: Vec<f64>,
}

impl Samples {
    fn add(&mut self, saved: &Saved) {
        self.pauses.push(saved.pause);
        self.wholes.push(saved.whole);
        self.devices.push(megabytes(saved.devices));
        self.memory.push(megabytes(saved.memory));
    }

    /// With a budget for what is compared with another way; the others are the other ways.
    fn report(&self, report: &Report, name: &str, other: Option<(&Self, &'static str)>) {
        let compared = |of: fn(&Self) -> &[Duration]| {
            other.map(|(other, what)| Compared {
                what,
                median: median_ms(of(other)),
            })
        };
        let has_budget = !name.contains('-');
        report.milliseconds(
            &format!("snapshot/{name}-pause"),
            &self.pauses,
            has_budget.then_some(PAUSE),
            compared(|samples| &samples.pauses),
        );
        report.milliseconds(
            &format!("snapshot/{name}-whole"),
            &self.wholes,
            None,
            compared(|samples| &samples.wholes),
        );
        let sizes = [("devices", &self.devices), ("memory-touched", &self.memory)];
        for (what, sizes) in sizes {
            let name = format!("snapshot/{name}-{what}");
            report.figure(&name, sizes, "MB", None, "lower", None);
        }
    }
}

/// A lab that `attest run` boots and saves.
struct Kept {
    runs: Runs,
    path: tempfile::TempDir,
}

impl Kept {
    fn new(manifest: &ManifestFile) -> Result<Self> {
        let path = stand_in()?;
        std::fs::create_dir(path.path().join(STATES))?;
        Ok(Self {
            runs: Runs::of_declared(manifest)?.with_path(path.path()),
            path,
        })
    }

    fn save(&self) -> Result<Saved> {
        let ran = self.runs.run("auto", &[])?;
        let states = self.path.path().join(STATES);
        let pause = pause(&states)?;
        for entry in std::fs::read_dir(&states)? {
            std::fs::remove_file(entry?.path())?;
        }
        let files = self.runs.kept()?;
        let written = |part: &str| {
            let of_part = files.iter().filter(|file| file.name.ends_with(part));
            of_part.map(|file| file.written).sum()
        };
        let saved = Saved {
            pause,
            whole: ran.phase(Phase::Snapshot),
            devices: written(".devices"),
            memory: written(".memory"),
        };
        self.runs.forget()?;
        if saved.memory == 0 {
            return Err("`attest run` kept no snapshot".into());
        }
        Ok(saved)
    }
}

/// From the first that stopped to the last that ran after it.
fn pause(states: &Path) -> Result<Duration> {
    let (mut stopped, mut ran) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(states)? {
        for line in std::fs::read_to_string(entry?.path())?.lines() {
            // As `2@1700000000.123456:vm_state_notify running 0 reason 4 (paused)`.
            let time = line.split_once('@').and_then(|(_, rest)| {
                let (time, what) = rest.split_once(':')?;
                Some((time.parse::<f64>().ok()?, what))
            });
            match time {
                Some((time, what)) if what.contains("running 1") => ran.push(time),
                Some((time, what)) if what.contains("(paused)") => stopped.push(time),
                _ => {}
            }
        }
    }
    let first = stopped.into_iter().min_by(f64::total_cmp);
    let last = ran.into_iter().max_by(f64::total_cmp);
    match first.zip(last) {
        Some((first, last)) if last > first => Ok(Duration::from_secs_f64(last - first)),
        _ => Err("no QEMU stopped, and was gone on from".into()),
    }
}

/// Booted and saved, and a fork of that saved again: all memory is copied.
async fn own_memory(manifest: &ManifestFile) -> Result<(Saved, Saved)> {
    let output = tempfile::tempdir()?;
    let lab = debian::boot(manifest.clone(), output.path()).await?;
    // Until addresses are settled, QEMU tells of cards that change.
    let settling = lab
        .machines()
        .iter()
        .map(|machine| machine.exec(["sleep", "2"]));
    let settled = wait_all(settling.map(IntoFuture::into_future).collect::<Vec<_>>()).await;
    settled.into_iter().collect::<attest::Result<Vec<_>>>()?;
    let (snapshot, booted) = save(&lab).await?;
    let fork = snapshot.fork().await?;
    let (_, forked) = save(&fork).await?;
    fork.shutdown().await;
    lab.shutdown().await;
    Ok((booted, forked))
}

async fn save(lab: &Lab) -> Result<(Snapshot, Saved)> {
    let before = memory_files()?;
    let mut ends = Vec::new();
    for machine in lab.machines() {
        ends.push(machine.qmp_events(0).await?.1);
    }
    // Each holds the QEMU that stops; the other is asked afterwards.
    let stops = lab.machines().iter().zip(ends);
    let stops = stops.map(|(machine, end)| machine.wait_for_qmp_events(end));
    let began = Instant::now();
    let (stopped, saved) =
        tokio::join!(biased; wait_all(stops.collect::<Vec<_>>()), lab.snapshot());
    let (snapshot, whole) = (saved?, began.elapsed());
    let mut times = Vec::new();
    for stopped in stopped {
        times.push(time_of("STOP", &stopped?.0)?);
    }
    let first = times.into_iter().min().unwrap_or_default();
    let mut last = Duration::ZERO;
    for machine in lab.machines() {
        last = last.max(resumed(machine).await?);
    }
    let after = memory_files()?;
    let is_old = |file: &MemoryFile| before.iter().any(|old| old.inode == file.inode);
    let new = after.iter().filter(|file| !is_old(file));
    let (memory, devices): (Vec<_>, Vec<_>) = new.partition(|file| file.length == MEMORY);
    let written = |files: &[&MemoryFile]| files.iter().map(|file| file.written).sum();
    let saved = Saved {
        pause: last.saturating_sub(first),
        whole,
        devices: written(&devices),
        memory: written(&memory),
    };
    Ok((snapshot, saved))
}

/// When its guest began to run in the QEMU that it has now, since 1970.
pub(crate) async fn resumed(machine: &Machine) -> Result<Duration> {
    time_of("RESUME", &machine.qmp_events(0).await?.0)
}

/// When QEMU said this, since 1970.
fn time_of(event: &str, events: &[Value]) -> Result<Duration> {
    let said = events.iter().find(|said| said["event"] == event);
    let said = said.ok_or_else(|| format!("QEMU did not say {event}, but: {events:?}"))?;
    let part = |name: &str| said["timestamp"][name].as_u64().unwrap_or_default();
    Ok(Duration::from_secs(part("seconds")) + Duration::from_micros(part("microseconds")))
}

/// A file of the host's memory that this process has open.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MemoryFile {
    inode: u64,
    /// Bytes.
    length: u64,
    /// Bytes of it that are no hole.
    written: u64,
}

fn memory_files() -> Result<Vec<MemoryFile>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut files = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let is_one = |target: &Path| {
            target
                .to_string_lossy()
                .starts_with("/memfd:attest-snapshot")
        };
        // The descriptor that lists them is gone when it is looked at.
        if !std::fs::read_link(&path).is_ok_and(|target| is_one(&target)) {
            continue;
        }
        let about = std::fs::metadata(&path)?;
        files.push(MemoryFile {
            inode: about.ino(),
            length: about.len(),
            written: about.blocks() * 512,
        });
    }
    files.sort();
    files.dedup();
    Ok(files)
}
