//! Containers of a Debian with nginx: four of them from the start of attest until all serve,
//! beside four that are started by hand; commands and copies.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use attest::{Backend, Machine};

use crate::figure::{Compared, Report, median_ms};
use crate::{Result, by_hand, copy, debian, programs};

const SAMPLES: usize = 7;
const COMMANDS: usize = 100;
const MACHINES: [&str; 4] = ["web1", "web2", "web3", "web4"];
const PORT: u16 = 80;
/// What attest's may take in place of those by hand.
const MARGIN: f64 = 1.3;
/// MB/s.
const COPY: f64 = 200.0;

pub(crate) async fn run(report: &Report) -> Result<()> {
    let image = match debian::image_for_containers(&debian::cache()?)? {
        Ok(image) => image,
        Err(reason) => {
            report.skipped("nspawn", &reason);
            return Ok(());
        }
    };
    four(report, &image.path)?;
    let output = tempfile::tempdir()?;
    let manifest = debian::manifest(Backend::Nspawn, &["guest"], &[]);
    let lab = debian::boot(manifest, output.path()).await?;
    let guest = lab.machine("guest")?;
    guest.wait_for_unit("multi-user.target").await?;
    commands(report, &guest).await?;
    copy::measure(report, &guest, "nspawn/copy-", Some(COPY)).await?;
    lab.shutdown().await;
    Ok(())
}

/// By hand: port 80 is open in all, from the first mount on; there is no network between them, no
/// host has a name, and nobody looks whether the unit is active. attest does all of that.
fn four(report: &Report, image: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("attest.json");
    std::fs::write(&file, manifest()?)?;
    let (mut ours, mut wholes, mut hands) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..=SAMPLES {
        let hand = by_hand::until_serving(image, MACHINES.len(), PORT)?;
        let (serving, whole) = attest_run(&file)?;
        // The first finds nothing in memory.
        if sample > 0 {
            hands.push(hand);
            ours.push(serving);
            wholes.push(whole);
        }
    }
    let compared = Compared {
        what: "four by hand",
        median: median_ms(&hands),
    };
    report.milliseconds("nspawn/four-serving", &ours, None, Some(compared));
    report.ratio("nspawn/four-serving-to-by-hand", &ours, &hands, MARGIN);
    report.milliseconds("nspawn/four-whole-run", &wholes, Some(4000.0), None);
    Ok(())
}

/// As text, for `attest run` reads it from a file.
fn manifest() -> Result<String> {
    let mut file = debian::manifest(Backend::Nspawn, &MACHINES, &[]);
    file.networks
        .insert("lan".to_owned(), attest::manifest::Network::default());
    let mut manifest = serde_json::to_value(&file)?;
    manifest["tests"] = serde_json::json!({ "serve": { "steps": [
        { "on": MACHINES, "wait": { "unit": "nginx" } },
        { "on": MACHINES, "wait": { "port": PORT } },
    ] } });
    Ok(manifest.to_string())
}

/// From the start of `attest run` to the end of its test, and to its own.
fn attest_run(manifest: &Path) -> Result<(Duration, Duration)> {
    let output = tempfile::tempdir()?;
    let began = Instant::now();
    let mut attest = Command::new(programs::attest()?)
        .args(["run", "--format", "json", "--output"])
        .arg(output.path())
        .arg(manifest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let events = BufReader::new(attest.stdout.take().ok_or("no events")?);
    let mut serving = None;
    for event in events.lines() {
        if event?.contains("\"test-ended\"") {
            serving = Some(began.elapsed());
        }
    }
    let status = attest.wait()?;
    let whole = began.elapsed();
    if !status.success() {
        return Err(format!("attest ended with {status}").into());
    }
    Ok((serving.ok_or("no test ended")?, whole))
}

async fn commands(report: &Report, guest: &Machine) -> Result<()> {
    let (mut trips, mut own) = (Vec::new(), Vec::new());
    for _ in 0..COMMANDS {
        let began = Instant::now();
        let output = guest.exec(["true"]).await?;
        trips.push(began.elapsed());
        own.push(output.duration);
    }
    let compared = Compared {
        what: "the agent's own fork + exec",
        median: median_ms(&own),
    };
    report.milliseconds("nspawn/exec", &trips, Some(2.0), Some(compared));
    Ok(())
}
