//! What a command costs beyond the guest's own fork and exec.

use std::time::{Duration, Instant};

use attest::{Lab, Machine};

use crate::Result;
use crate::figure::{Compared, Report, median_ms};

/// Samples of each figure.
const SAMPLES: usize = 50;
/// Commands at once.
const AT_ONCE: usize = 64;
/// In a row, for leaks.
const MANY: usize = 10_000;
/// Long enough for shells to be started ahead again.
const IDLE: Duration = Duration::from_millis(300);

pub(crate) async fn run(report: &Report) -> Result<()> {
    let lab = Lab::builder()
        .machine_with("guest", |machine| machine.vcpus = Some(2))
        .boot()
        .await?;
    let guest = lab.machine("guest")?;
    guest.exec(["true"]).await?;
    let floor = argv(&guest, report).await?;
    at_once(&guest, report, floor).await?;
    shell(&guest, report).await?;
    leaks(&guest, report).await?;
    size(&guest, report).await?;
    lab.shutdown().await;
    Ok(())
}

/// The round trip of `true`, beside the guest's own fork + exec + wait, which the agent measures
/// around each of the very same commands.
async fn argv(guest: &Machine, report: &Report) -> Result<f64> {
    let (mut trips, mut own) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let began = Instant::now();
        let output = guest.exec(["true"]).await?;
        trips.push(began.elapsed());
        own.push(output.duration);
    }
    let compared = Compared {
        what: "the guest's own fork + exec",
        median: median_ms(&own),
    };
    report.milliseconds("exec/argv", &trips, None, Some(compared));
    let beyond: Vec<Duration> = trips
        .iter()
        .zip(&own)
        .map(|(trip, own)| trip.saturating_sub(*own))
        .collect();
    let compared = Compared {
        what: "a round trip of a request that does nothing",
        median: empty_round_trip(guest).await?,
    };
    report.milliseconds(
        "exec/argv-beyond-the-guest",
        &beyond,
        Some(0.5),
        Some(compared),
    );
    Ok(median_ms(&own))
}

/// Milliseconds. There is nothing frozen, so nothing is thawed.
async fn empty_round_trip(guest: &Machine) -> Result<f64> {
    let mut trips = Vec::new();
    for _ in 0..SAMPLES {
        let began = Instant::now();
        guest.thaw().await?;
        trips.push(began.elapsed());
    }
    Ok(median_ms(&trips))
}

async fn at_once(guest: &Machine, report: &Report, floor: f64) -> Result<()> {
    let mut per_command = Vec::new();
    for _ in 0..10 {
        let began = Instant::now();
        for output in attest::wait_all((0..AT_ONCE).map(|_| guest.exec(["true"]))).await {
            output?;
        }
        per_command.push(began.elapsed() / u32::try_from(AT_ONCE)?);
    }
    // Two virtual CPUs fork in turn, so the floor of each command is the guest's own time.
    let compared = Compared {
        what: "the guest's own fork + exec, one at a time",
        median: floor,
    };
    report.milliseconds(
        "exec/argv-64-at-once",
        &per_command,
        Some(floor + 0.5),
        Some(compared),
    );
    Ok(())
}

async fn shell(guest: &Machine, report: &Report) -> Result<()> {
    let mut cold = Vec::new();
    for _ in 0..SAMPLES {
        let began = Instant::now();
        guest
            .exec(["bash", "-c", "set -euo pipefail; true"])
            .await?;
        cold.push(began.elapsed());
    }
    let compared = Compared {
        what: "starting bash each time",
        median: median_ms(&cold),
    };
    let mut idle = Vec::new();
    for _ in 0..SAMPLES / 2 {
        // The figure is of a command after an idle moment.
        tokio::time::sleep(IDLE).await;
        let began = Instant::now();
        guest.shell("true").await?;
        idle.push(began.elapsed());
    }
    report.milliseconds(
        "exec/shell-after-idle",
        &idle,
        Some(12.0),
        Some(compared.clone()),
    );
    let mut busy = Vec::new();
    for _ in 0..SAMPLES {
        let began = Instant::now();
        guest.shell("true").await?;
        busy.push(began.elapsed());
    }
    report.milliseconds("exec/shell-back-to-back", &busy, Some(30.0), Some(compared));
    Ok(())
}

async fn size(guest: &Machine, report: &Report) -> Result<()> {
    let said = guest.exec(["stat", "-c", "%s", "/init"]).await?;
    let megabytes = [said.text().trim().parse::<f64>()? / 1e6];
    report.figure(
        "exec/agent-size",
        &megabytes,
        "MB",
        Some(2.0),
        "lower",
        None,
    );
    Ok(())
}

/// What ten thousand commands leave in the agent: descriptors, tracked children, memory.
async fn leaks(guest: &Machine, report: &Report) -> Result<()> {
    let before = guest.stats().await?;
    for _ in 0..MANY / AT_ONCE {
        for output in attest::wait_all((0..AT_ONCE).map(|_| guest.exec(["true"]))).await {
            output?;
        }
    }
    let after = guest.stats().await?;
    let grown = |after: u64, before: u64| {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let grown = after.saturating_sub(before) as f64;
        [grown]
    };
    report.figure(
        "exec/leaked-descriptors",
        &grown(after.agent_fds, before.agent_fds),
        "fds",
        Some(0.0),
        "lower",
        None,
    );
    report.figure(
        "exec/leaked-children",
        &grown(after.agent_tracked, before.agent_tracked),
        "n",
        Some(0.0),
        "lower",
        None,
    );
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let resident = [after.agent_rss as f64 / 1e6];
    report.figure(
        "exec/agent-resident",
        &resident,
        "MB",
        Some(3.0),
        "lower",
        None,
    );
    Ok(())
}
