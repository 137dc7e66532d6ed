//! Units of a Debian in a container: from the change of a state to the wait's return, and what
//! looking at units and restarting them costs.
//!
//! A container has the host's clock, so the times of both are compared as they are.

use std::time::{Duration, Instant};

use attest::manifest::ManifestFile;
use attest::systemd::Unit;
use attest::{Backend, Machine};

use crate::figure::{Compared, Report, median_ms};
use crate::wait::{PAUSES, now};
use crate::{Result, debian};

const SAMPLES: usize = 30;
/// Labs, each with a first wait.
const BOOTS: usize = 5;
const MACHINE: &str = "guest";

/// Becomes active at the host's word; the last that it does before is to note the time.
const EVENT: &str = "bench-event.service";
/// Does nothing, and does it well.
const TRIVIAL: &str = "bench-trivial.service";
const FILES: [(&str, &str); 2] = [
    (
        "/etc/systemd/system/bench-event.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/bin/bash -c 'read < /run/bench-go; echo $$EPOCHREALTIME > /run/bench-stamp'\n",
    ),
    (
        "/etc/systemd/system/bench-trivial.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\n",
    ),
];

pub(crate) async fn run(report: &Report) -> Result<()> {
    if let Err(reason) = debian::image_for_containers(&debian::cache()?)? {
        report.skipped("systemd", &reason);
        return Ok(());
    }
    let output = tempfile::tempdir()?;
    let lab = debian::boot(manifest(), output.path()).await?;
    let guest = lab.machine(MACHINE)?;
    guest.wait_for_unit("multi-user.target").await?;
    guest.exec(["mkfifo", "/run/bench-go"]).await?;
    waits(report, &guest).await?;
    looks(report, &guest).await?;
    restarts(report, &guest).await?;
    lab.shutdown().await;
    firsts(report).await
}

fn manifest() -> ManifestFile {
    debian::manifest(Backend::Nspawn, &[MACHINE], &FILES)
}

/// From the unit's own time stamp, behind which it still has to end and systemd to see that; and
/// from the instant that systemd notes as the state's.
async fn waits(report: &Report, guest: &Machine) -> Result<()> {
    let (mut of_unit, mut of_systemd) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        let (unit, systemd) = change(guest, number).await?;
        of_unit.push(unit);
        of_systemd.push(systemd);
    }
    let compared = Compared {
        what: "from the instant that systemd notes",
        median: median_ms(&of_systemd),
    };
    report.milliseconds("systemd/wait", &of_unit, Some(5.0), Some(compared));
    report.milliseconds("systemd/wait-after-systemd", &of_systemd, Some(5.0), None);
    Ok(())
}

async fn change(guest: &Machine, number: usize) -> Result<(Duration, Duration)> {
    let unit = guest.unit(EVENT);
    guest
        .exec(["systemctl", "start", "--no-block", EVENT])
        .await?;
    let waiting = async { guest.wait_for_unit(EVENT).await.map(|_| now()) };
    let acting = async {
        tokio::time::sleep(PAUSES[number % PAUSES.len()]).await;
        guest.shell("echo > /run/bench-go").await
    };
    let (waited, _) = tokio::try_join!(waiting, acting)?;
    let stamp = guest.exec(["cat", "/run/bench-stamp"]).await?;
    let by_unit: f64 = stamp.text().trim().parse()?;
    let by_systemd = noted(&unit).await?;
    unit.stop().await?;
    Ok((between(by_unit, waited), between(by_systemd, waited)))
}

/// When the unit became active, as systemd notes it: seconds since 1970.
async fn noted(unit: &Unit) -> Result<f64> {
    let properties = unit.properties().await?;
    let noted = properties.value("ActiveEnterTimestamp")?.as_u64();
    let noted = noted.ok_or("systemd noted no time")?;
    Ok(Duration::from_micros(noted).as_secs_f64())
}

fn between(happened: f64, waited: f64) -> Duration {
    Duration::try_from_secs_f64(waited - happened).unwrap_or_default()
}

/// What a unit does, asked of systemd by attest, and by a command in the guest.
async fn looks(report: &Report, guest: &Machine) -> Result<()> {
    let (unit, mut ours, mut by_command) = (guest.unit("nginx"), Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let began = Instant::now();
        unit.state().await?;
        ours.push(began.elapsed());
        let began = Instant::now();
        guest.exec(["systemctl", "is-active", "nginx"]).await?;
        by_command.push(began.elapsed());
    }
    beside(
        report,
        "systemd/state",
        &ours,
        &by_command,
        "systemctl is-active",
    );
    Ok(())
}

async fn restarts(report: &Report, guest: &Machine) -> Result<()> {
    let (unit, mut ours, mut by_command) = (guest.unit(TRIVIAL), Vec::new(), Vec::new());
    unit.start().await?;
    for _ in 0..SAMPLES {
        let began = Instant::now();
        unit.restart().await?;
        ours.push(began.elapsed());
        let began = Instant::now();
        guest.exec(["systemctl", "restart", TRIVIAL]).await?;
        by_command.push(began.elapsed());
    }
    beside(
        report,
        "systemd/restart",
        &ours,
        &by_command,
        "systemctl restart",
    );
    Ok(())
}

/// The budget is what the same by a command takes.
fn beside(
    report: &Report,
    name: &str,
    ours: &[Duration],
    by_command: &[Duration],
    what: &'static str,
) {
    let median = median_ms(by_command);
    let compared = Compared { what, median };
    report.milliseconds(name, ours, Some(median), Some(compared));
}

/// Waits that begin before systemd does; and the first that begins after the boot, for what has
/// come already.
async fn firsts(report: &Report) -> Result<()> {
    let (mut over_boots, mut firsts, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        let output = tempfile::tempdir()?;
        let lab = debian::boot(manifest(), output.path()).await?;
        let guest = lab.machine(MACHINE)?;
        guest.wait_for_unit("nginx").await?;
        let waited = now();
        over_boots.push(between(noted(&guest.unit("nginx")).await?, waited));
        lab.shutdown().await;

        let lab = debian::boot(manifest(), output.path()).await?;
        let guest = lab.machine(MACHINE)?;
        booted(&guest).await?;
        firsts.push(wait(&guest).await?);
        seconds.push(wait(&guest).await?);
        lab.shutdown().await;
    }
    report.milliseconds("systemd/wait-over-boot", &over_boots, Some(5.0), None);
    let compared = Compared {
        what: "the second wait",
        median: median_ms(&seconds),
    };
    report.milliseconds("systemd/first-wait", &firsts, Some(5.0), Some(compared));
    Ok(())
}

/// Waits for the end of the boot by a command, so that the test itself has asked systemd nothing.
async fn booted(guest: &Machine) -> Result<()> {
    // What the command needs. Until then it would fail.
    guest
        .wait_for_unix_socket("/run/dbus/system_bus_socket")
        .await?;
    // It ends with another code where a unit has failed.
    guest
        .shell("systemctl is-system-running --wait || true")
        .await?;
    Ok(())
}

async fn wait(guest: &Machine) -> Result<Duration> {
    let began = Instant::now();
    guest.wait_for_unit("multi-user.target").await?;
    Ok(began.elapsed())
}
