//! Firecracker and Cloud Hypervisor: what attest takes beyond them.
//!
//! Beside each start and each restore, in the same round: the same program started by hand, which is told the same over
//! its API and loads the same state. The guest is no operating system, so that the figures are the same where KVM runs
//! stock kernels and where it does not; what the guest itself takes is in none of them.

mod by_hand;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use attest::manifest::{
    Accelerator, Backend, Image, ImageFiles, Jailer, Machine as MachineDefinition, ManifestFile,
    Size,
};
use attest::{Lab, LabContext, Recorder, Snapshot, SnapshotUse, wait_all};
use attest_image::Cache;
use attest_image::store::{SnapshotSettings, SnapshotStore, about_lab};

use crate::Result;
use crate::figure::{Compared, Report, median_ms};
use crate::host::megabytes;

use by_hand::ByHand;

const SAMPLES: usize = 15;
/// Milliseconds that attest may take beyond the VMM's own.
const BEYOND: f64 = 10.0;
const MIB: u64 = 1 << 20;
/// Of each guest, MiB.
const MEMORY: u64 = 128;
/// The kernel still takes a virtual machine apart when its process is gone, which the next one would wait for. What is
/// compared is to have a host that does nothing else.
const SETTLES: Duration = Duration::from_millis(100);
/// How often a snapshot is gone on from in a row.
const IN_A_ROW: usize = 50;
/// Labs that are gone on from at once.
const AT_ONCE: usize = 8;

pub(crate) async fn firecracker(report: &Report) -> Result<()> {
    run(report, &by_hand::FIRECRACKER, Backend::Firecracker).await
}

pub(crate) async fn cloud_hypervisor(report: &Report) -> Result<()> {
    run(report, &by_hand::CLOUD_HYPERVISOR, Backend::CloudHypervisor).await
}

async fn run(report: &Report, vmm: &ByHand, backend: Backend) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if attest_vmm::find_program_in(Path::new(vmm.program), &path).is_none() {
        report.skipped(vmm.program, "it is not on PATH");
        return Ok(());
    }
    for machines in [1, 3] {
        start(report, vmm, backend, machines).await?;
    }
    if backend == Backend::Firecracker {
        jailed(report).await?;
    }
    for machines in [1, 3] {
        match Saved::make(vmm, backend, machines).await? {
            Ok(saved) => saved.measure(report).await?,
            Err(reason) => report.skipped(&format!("{}/restore", vmm.program), &reason),
        }
    }
    Ok(())
}

/// Bytes of a process that no other has (proc_pid_smaps(5)).
fn private(pid: u32) -> Result<u64> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let lines = table
        .lines()
        .filter_map(|line| line.strip_prefix("Private_"));
    let kib = lines.map(|line| {
        let number = line
            .split_whitespace()
            .nth(1)
            .ok_or("a line without a number")?;
        Ok(number.parse::<u64>()?)
    });
    Ok(kib.sum::<Result<u64>>()? * 1024)
}

fn name(machines: u32) -> &'static str {
    if machines == 1 { "one" } else { "three" }
}

/// So many machines without cards: by hand there are none.
fn manifest(backend: Backend, machines: u32, jailer: Jailer) -> ManifestFile {
    let own = std::process::id();
    let kernel = attest_fixture::metal::kernel().to_owned();
    let mut manifest = ManifestFile {
        name: Some(format!("attest-bench-{own}-{machines}")),
        ..ManifestFile::default()
    };
    for number in 0..machines {
        let machine = MachineDefinition {
            backend: Some(backend),
            accelerator: Some(Accelerator::Kvm),
            memory: Some(Size::from_mib(MEMORY)),
            image: Some(Image::Files(ImageFiles {
                initrd: Some(kernel.clone()),
                kernel: Some(kernel.clone()),
            })),
            jailer: Some(jailer),
            ..MachineDefinition::default()
        };
        manifest
            .machines
            .insert(format!("guest{number}-{own}"), machine);
    }
    manifest
}

fn context(output: &Path, snapshots: SnapshotUse) -> LabContext {
    LabContext {
        recorder: Recorder::silent(),
        output: output.to_owned(),
        cache: None,
        snapshots,
    }
}

/// From the call to the guest's start being accepted, of machines that start at once.
async fn started(lab: &Lab) -> Result<Duration> {
    let began = Instant::now();
    let starting = lab.machines().iter().map(attest::Machine::start);
    let started = wait_all(starting.collect::<Vec<_>>()).await;
    started.into_iter().collect::<attest::Result<Vec<_>>>()?;
    Ok(began.elapsed())
}

async fn start(report: &Report, vmm: &ByHand, backend: Backend, machines: u32) -> Result<()> {
    let output = tempfile::tempdir()?;
    let plan = manifest(backend, machines, Jailer::Never).plan()?;
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for sample in 0..=SAMPLES {
        let lab = Lab::create(plan.clone(), context(output.path(), SnapshotUse::Never)).await?;
        tokio::time::sleep(SETTLES).await;
        let took = started(&lab).await?;
        lab.shutdown().await;
        tokio::time::sleep(SETTLES).await;
        let alone = vmm.start(
            machines as usize,
            attest_fixture::metal::kernel(),
            MEMORY * MIB,
        )?;
        // The first one reads programs and files that are cached then.
        if sample > 0 {
            ours.push(took);
            by_hand.push(alone);
        }
    }
    let name = format!("{}/start-{}", vmm.program, name(machines));
    beyond(report, &name, &ours, &by_hand, machines);
    Ok(())
}

/// The figure, and what of it is beyond the VMM's own.
fn beyond(report: &Report, name: &str, ours: &[Duration], by_hand: &[Duration], machines: u32) {
    let compared = Compared {
        what: "the VMM by hand",
        median: median_ms(by_hand),
    };
    report.milliseconds(name, ours, None, Some(compared));
    let each = |(ours, by_hand): (&Duration, &Duration)| {
        (ours.as_secs_f64() - by_hand.as_secs_f64()) * 1e3 / f64::from(machines)
    };
    let beyond: Vec<f64> = ours.iter().zip(by_hand).map(each).collect();
    let name = format!("{name}-beyond-each");
    report.figure(&name, &beyond, "ms", Some(BEYOND), "lower", None);
}

/// What a jail adds.
async fn jailed(report: &Report) -> Result<()> {
    let output = tempfile::tempdir()?;
    let plan = manifest(Backend::Firecracker, 1, Jailer::Require).plan()?;
    let mut took = Vec::new();
    for _ in 0..SAMPLES {
        let made = Lab::create(plan.clone(), context(output.path(), SnapshotUse::Never)).await;
        let lab = match made {
            Ok(lab) => lab,
            Err(error) => {
                report.skipped("firecracker/start-jailed", &error.chain());
                return Ok(());
            }
        };
        tokio::time::sleep(SETTLES).await;
        took.push(started(&lab).await?);
        lab.shutdown().await;
    }
    report.milliseconds("firecracker/start-jailed", &took, None, None);
    Ok(())
}

/// A lab that was saved, and is kept as well.
struct Saved {
    vmm: &'static str,
    by_hand: ByHand,
    machines: u32,
    lab: Lab,
    snapshot: Snapshot,
    /// Where its files are, as long as it is there.
    _output: tempfile::TempDir,
    /// Its entry among what is kept.
    kept: PathBuf,
}

impl Saved {
    /// `Err`: why this host's VMM saves nothing.
    async fn make(
        vmm: &ByHand,
        backend: Backend,
        machines: u32,
    ) -> Result<std::result::Result<Self, String>> {
        let output = tempfile::tempdir()?;
        let manifest = manifest(backend, machines, Jailer::Never);
        let boot = async |snapshots| {
            let plan = manifest.clone().plan()?;
            let lab = Lab::boot(plan, Some(context(output.path(), snapshots))).await?;
            for machine in lab.machines() {
                machine.ready().await?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(lab)
        };
        boot(SnapshotUse::Auto).await?.shutdown().await;
        let lab = boot(SnapshotUse::Never).await?;
        let snapshot = match lab.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                lab.shutdown().await;
                return Ok(Err(error.chain()));
            }
        };
        let settings = SnapshotSettings::from_environment(Cache::default_directory()?, None);
        let entries = SnapshotStore::open(&settings)?.caches().ls()?.into_iter();
        let is_it = |path: &Path| {
            about_lab(path).is_some_and(|about| about["lab"].as_str() == manifest.name.as_deref())
        };
        let kept = entries.map(|entry| entry.path).find(|path| is_it(path));
        Ok(Ok(Self {
            vmm: vmm.program,
            by_hand: *vmm,
            machines,
            kept: kept.ok_or("attest kept no snapshot")?,
            lab,
            snapshot,
            _output: output,
        }))
    }

    async fn measure(self, report: &Report) -> Result<()> {
        self.restores(report).await?;
        self.saves(report).await?;
        if self.machines == 1 {
            self.in_a_row(report).await?;
            self.memory(report).await?;
        }
        self.lab.shutdown().await;
        let settings = SnapshotSettings::from_environment(Cache::default_directory()?, None);
        let name = self.kept.file_name().ok_or("an entry without a name")?;
        let name = name.to_string_lossy().into_owned();
        drop((self.snapshot, self.lab));
        SnapshotStore::open(&settings)?.caches().rm(&name)?;
        Ok(())
    }

    fn figure(&self, what: &str) -> String {
        format!("{}/{what}-{}", self.vmm, name(self.machines))
    }

    async fn restores(&self, report: &Report) -> Result<()> {
        let (mut ours, mut by_hand, mut answered) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..=SAMPLES {
            tokio::time::sleep(SETTLES).await;
            let began = Instant::now();
            let fork = self.snapshot.fork_running().await?;
            let runs = began.elapsed();
            for machine in fork.machines() {
                machine.ready().await?;
            }
            let answers = began.elapsed();
            fork.shutdown().await;
            std::fs::remove_dir_all(fork.output())?;
            tokio::time::sleep(SETTLES).await;
            let alone = self.by_hand.restore(&self.kept)?;
            if sample > 0 {
                ours.push(runs);
                by_hand.push(alone);
                answered.push(answers);
            }
        }
        beyond(
            report,
            &self.figure("restore"),
            &ours,
            &by_hand,
            self.machines,
        );
        report.milliseconds(&self.figure("restore-to-answer"), &answered, None, None);
        Ok(())
    }

    async fn saves(&self, report: &Report) -> Result<()> {
        let mut took = Vec::new();
        for _ in 0..SAMPLES.div_ceil(3) {
            let began = Instant::now();
            drop(self.lab.snapshot().await?);
            took.push(began.elapsed());
        }
        report.milliseconds(&self.figure("snapshot"), &took, None, None);
        Ok(())
    }

    async fn in_a_row(&self, report: &Report) -> Result<()> {
        let mut took = Vec::new();
        for _ in 0..IN_A_ROW {
            let began = Instant::now();
            let fork = self.snapshot.fork().await?;
            fork.machines()[0].exec(["true"]).await?;
            fork.shutdown().await;
            std::fs::remove_dir_all(fork.output())?;
            took.push(began.elapsed());
        }
        report.milliseconds(&self.figure("in-a-row"), &took, None, None);
        Ok(())
    }

    /// What forks do not share, when they have done nothing but answer.
    async fn memory(&self, report: &Report) -> Result<()> {
        let forks = (0..AT_ONCE).map(|_| self.snapshot.fork());
        let forks = wait_all(forks.collect::<Vec<_>>()).await;
        let forks = forks.into_iter().collect::<attest::Result<Vec<_>>>()?;
        let mut own = Vec::new();
        for fork in &forks {
            let machine = &fork.machines()[0];
            let pid = machine.vmm_pid().await.ok_or("the machine has no VMM")?;
            own.push(megabytes(private(pid)?));
        }
        wait_all(forks.iter().map(Lab::shutdown).collect::<Vec<_>>()).await;
        report.figure(&self.figure("idle-memory"), &own, "MB", None, "lower", None);
        Ok(())
    }
}
