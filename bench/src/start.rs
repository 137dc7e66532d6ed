//! From attest's start to QEMU's, and what a machine's disks and network take.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use attest_image::{Cache, disks};
use attest_lab::{LabContent, LabProcess, NetworkSpec};
use nix::time::{ClockId, clock_gettime};

use crate::figure::Report;
use crate::{Result, programs};

/// Under this name the benchmark plays QEMU: it notes when it was started, and ends.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

const STARTS: usize = 20;
const DEMOS: usize = 5;
const MACHINES: usize = 16;

pub(crate) async fn run(report: &Report) -> Result<()> {
    to_qemu(report)?;
    machines(report).await?;
    demo(report)
}

/// The whole of `attest run` on one machine, up to the first instruction of QEMU's program: a
/// stand-in for QEMU writes down when that is, by the clock that all processes share.
fn to_qemu(report: &Report) -> Result<()> {
    let attest = programs::attest()?;
    let directory = stand_in()?;
    std::fs::write(
        directory.path().join("attest.toml"),
        "[machines.guest]\n[tests.none]\nsteps = [{ argv = [\"true\"] }]\n",
    )?;
    let started = directory.path().join("started");
    let mut samples = Vec::new();
    for sample in 0..=STARTS {
        let began = monotonic()?;
        let status = Command::new(&attest)
            .args(["run", "--quiet"])
            .arg(directory.path())
            .env("PATH", directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let text = std::fs::read_to_string(&started)
            .map_err(|_| format!("attest started no QEMU; it ended with {status}"))?;
        std::fs::remove_file(&started)?;
        // The first is the cold one: it asks for QEMU's version, and may build the guest.
        if sample > 0 {
            samples.push(Duration::from_nanos(text.parse::<u64>()?).saturating_sub(began));
        }
    }
    report.milliseconds("start/attest-to-qemu", &samples, Some(15.0), None);
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let megabytes = [std::fs::metadata(&attest)?.len() as f64 / 1e6];
    report.figure(
        "start/attest-size",
        &megabytes,
        "MB",
        Some(12.0),
        "lower",
        None,
    );
    Ok(())
}

/// What the benchmark does under QEMU's name.
pub(crate) fn play_qemu(own: &Path) -> Result<()> {
    let now = monotonic()?;
    let directory = own.parent().ok_or("no directory")?;
    // Questions about its abilities are for the real one.
    let real = std::fs::read_to_string(directory.join("real"))?;
    let mut command = Command::new(real);
    command.args(std::env::args_os().skip(1));
    if std::env::args().any(|argument| argument == "-machine") {
        let states = directory.join(STATES);
        if !states.is_dir() {
            std::fs::write(directory.join("started"), now.as_nanos().to_string())?;
            return Ok(());
        }
        // In a lab, its process number says little.
        command.args(["-msg", "timestamp=on", "-d", "trace:vm_state_notify", "-D"]);
        command.arg(states.join(now.as_nanos().to_string()));
    }
    Err(command.exec().into())
}

/// Where each QEMU that is started through a [`stand_in`] writes when its processors run and stop.
pub(crate) const STATES: &str = "states";

/// A directory for `PATH` with the benchmark under QEMU's name.
pub(crate) fn stand_in() -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    std::os::unix::fs::symlink(std::env::current_exe()?, directory.path().join(QEMU))?;
    let real = programs::on_path(QEMU).ok_or_else(|| format!("{QEMU} is not on PATH"))?;
    std::fs::write(
        directory.path().join("real"),
        real.as_os_str().as_encoded_bytes(),
    )?;
    Ok(directory)
}

/// Disks and network of each of some machines, in a lab that stands.
async fn machines(report: &Report) -> Result<()> {
    let cache = Cache::open(&Cache::default_directory()?)?;
    let network = NetworkSpec {
        name: "lan".to_owned(),
        mtu: 1500,
        addresses: Vec::new(),
    };
    let began = Instant::now();
    let lab = LabProcess::start(attest_embed::LAB, &[network], LabContent::Programs).await?;
    let lab_took = began.elapsed();
    let mut samples = Vec::new();
    for _ in 0..MACHINES {
        let began = Instant::now();
        let tap = lab.tap("lan").await?;
        let disk = disks::scratch(&cache, 5 << 30)?;
        samples.push(began.elapsed());
        drop((tap, disk));
    }
    report.milliseconds("start/machine-disks-and-network", &samples, Some(5.0), None);
    report.milliseconds("start/lab-process", &[lab_took], None, None);
    lab.end().await;
    Ok(())
}

/// The README's first command, with everything built and cached.
fn demo(report: &Report) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut samples = Vec::new();
    for sample in 0..=DEMOS {
        let began = Instant::now();
        let output = Command::new(&cargo)
            .args(["xtask", "demo"])
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            return Err(format!("the demo ended with {}:\n{text}", output.status).into());
        }
        if sample > 0 {
            samples.push(began.elapsed());
        }
    }
    report.milliseconds("start/second-demo", &samples, Some(4000.0), None);
    Ok(())
}

pub(crate) fn monotonic() -> Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?))
}
