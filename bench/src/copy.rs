//! Copies of 100 MB, beside a raw pipe over the same device: a command that writes or reads the
//! same bytes without a file system or an archive in between.

use std::time::Instant;

use attest::{ChildEvent, Lab, Machine};
use bytes::Bytes;

use crate::Result;
use crate::figure::{Compared, Report, quantile};

const BYTES: usize = 100_000_000;
const SAMPLES: usize = 3;

pub(crate) async fn run(report: &Report) -> Result<()> {
    let lab = Lab::builder()
        .machine_with("guest", |machine| {
            machine.vcpus = Some(2);
            machine.memory = Some("512M".parse().expect("a size"));
        })
        .boot()
        .await?;
    measure(report, &lab.machine("guest")?, "copy/", None).await?;
    lab.shutdown().await;
    Ok(())
}

/// Both ways, under names that begin so. The budget is in MB/s; without one it is what the raw pipe
/// has.
pub(crate) async fn measure(
    report: &Report,
    guest: &Machine,
    prefix: &str,
    budget: Option<f64>,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let source = directory.path().join("source");
    // Not zeros: those would travel as holes.
    let contents: Vec<u8> = (0..BYTES)
        .map(|at| u8::try_from(at % 251).unwrap_or(0) | 1)
        .collect();
    std::fs::write(&source, &contents)?;
    let (mut up, mut down, mut raw_up, mut raw_down) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        raw_up.push(raw_to_guest(guest, &contents).await?);
        up.push(rate(guest.upload(&source, "/tmp/copy")).await?);
        raw_down.push(raw_to_host(guest).await?);
        down.push(rate(guest.download("/tmp/copy", directory.path().join("back"))).await?);
    }
    if std::fs::read(directory.path().join("back"))? != contents {
        return Err("what came back is not what was sent".into());
    }
    for (name, ours, raw) in [("to-guest", up, raw_up), ("to-host", down, raw_down)] {
        let floor = quantile(&raw, 0.5);
        let compared = Compared {
            what: "raw pipe over the same device",
            median: floor,
        };
        report.figure(
            &format!("{prefix}{name}"),
            &ours,
            "MB/s",
            Some(budget.unwrap_or(floor)),
            "higher",
            Some(compared),
        );
    }
    Ok(())
}

async fn rate<T>(copy: impl IntoFuture<Output = attest::Result<T>>) -> Result<f64> {
    let began = Instant::now();
    copy.await?;
    Ok(megabytes_per_second(began))
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn megabytes_per_second(began: Instant) -> f64 {
    BYTES as f64 / 1e6 / began.elapsed().as_secs_f64()
}

async fn raw_to_guest(guest: &Machine, contents: &[u8]) -> Result<f64> {
    let contents = Bytes::copy_from_slice(contents);
    let began = Instant::now();
    guest
        .exec(["dd", "of=/dev/null", "bs=64k"])
        .stdin(contents)
        .await?;
    Ok(megabytes_per_second(began))
}

async fn raw_to_host(guest: &Machine) -> Result<f64> {
    // In large pieces, for it is to be the pipe that is measured.
    let count = format!("count={}", BYTES / 100_000);
    let began = Instant::now();
    let mut child = guest
        .exec(["dd", "if=/dev/zero", "bs=100000", &count])
        .spawn()
        .await?;
    loop {
        if let ChildEvent::Exited(_) = child.next().await? {
            return Ok(megabytes_per_second(began));
        }
    }
}
