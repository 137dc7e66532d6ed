//! From the event in the guest to the wait's return on the host.
//!
//! Files, commands and the console: the guest's shell writes its clock's time beside the event;
//! how far that clock is from the host's is measured before each. Ports and sockets: the agent itself
//! begins to listen at the host's word, so that the time counts from before that word is sent.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use attest::{Endpoint, Lab, Machine, Wait};

use crate::Result;
use crate::figure::Report;

const SAMPLES: usize = 20;
/// From the wait's begin to the event: waits back off, so the moments are spread.
pub(crate) const PAUSES: [Duration; 4] = [
    Duration::from_millis(40),
    Duration::from_millis(90),
    Duration::from_millis(170),
    Duration::from_millis(290),
];

pub(crate) async fn run(report: &Report) -> Result<()> {
    let lab = Lab::builder()
        .machine_with("guest", |machine| machine.vcpus = Some(2))
        .boot()
        .await?;
    let guest = lab.machine("guest")?;
    guest.shell("echo nothing here > /tmp/text").await?;
    port(report, &guest).await?;
    socket(report, &guest).await?;
    file(report, &guest).await?;
    text(report, &guest).await?;
    command(report, &guest).await?;
    console(report, &guest).await?;
    lab.shutdown().await;
    shutdown(report).await
}

async fn port(report: &Report, guest: &Machine) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let port = u16::try_from(4000 + number)?;
        let wait = guest.wait_for_port(port);
        samples.push(listening(guest, number, wait, Endpoint::port(port)).await?);
    }
    report.milliseconds("wait/port", &samples, Some(10.0), None);
    Ok(())
}

async fn socket(report: &Report, guest: &Machine) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let path = format!("/tmp/socket-{number}");
        let wait = guest.wait_for_unix_socket(&path);
        samples.push(listening(guest, number, wait, Endpoint::Unix(path.into())).await?);
    }
    report.milliseconds("wait/socket", &samples, Some(5.0), None);
    Ok(())
}

/// Have the agent listen there, and give the time from that word to the wait's end.
async fn listening(guest: &Machine, number: usize, wait: Wait, at: Endpoint) -> Result<Duration> {
    let waiting = async { wait.await.map(|_| Instant::now()) };
    let acting = async {
        tokio::time::sleep(PAUSES[number % PAUSES.len()]).await;
        let began = Instant::now();
        let forward = guest.forward_to_host(at, Endpoint::port(1)).await?;
        Ok::<_, attest::Error>((began, forward))
    };
    let (waited, acted) = tokio::try_join!(waiting, acting)?;
    Ok(waited.saturating_duration_since(acted.0))
}

async fn file(report: &Report, guest: &Machine) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let path = format!("/tmp/file-{number}");
        let wait = guest.wait_for_file(&path);
        samples.push(event(guest, number, wait, &format!(": > {path}")).await?);
    }
    report.milliseconds("wait/file", &samples, Some(5.0), None);
    Ok(())
}

async fn text(report: &Report, guest: &Machine) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let wait = guest.wait_for_text_in_file("/tmp/text", format!("line {number};"));
        let write = format!("echo 'line {number};' >> /tmp/text");
        samples.push(event(guest, number, wait, &write).await?);
    }
    report.milliseconds("wait/text-in-file", &samples, Some(5.0), None);
    Ok(())
}

async fn command(report: &Report, guest: &Machine) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let wait = guest.wait_until_succeeds(format!("test -e /tmp/ready-{number}"));
        samples.push(event(guest, number, wait, &format!(": > /tmp/ready-{number}")).await?);
    }
    report.milliseconds("wait/command", &samples, Some(25.0), None);
    Ok(())
}

async fn console(report: &Report, guest: &Machine) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..SAMPLES {
        let wait = guest.wait_for_console_text(format!("event {number};"));
        let print = format!("echo 'event {number};' > /dev/console");
        samples.push(event(guest, number, wait, &print).await?);
    }
    report.milliseconds("wait/console", &samples, Some(5.0), None);
    Ok(())
}

/// Let a shell builtin make the event while the wait runs, and give the time between them.
async fn event(guest: &Machine, number: usize, wait: Wait, make: &str) -> Result<Duration> {
    let ahead = clock_ahead(guest).await?;
    let waiting = async { wait.await.map(|_| now()) };
    let acting = async {
        tokio::time::sleep(PAUSES[number % PAUSES.len()]).await;
        guest
            .shell(format!("before=$EPOCHREALTIME; {make}; echo $before"))
            .await
    };
    let (waited, acted) = tokio::try_join!(waiting, acting)?;
    let happened: f64 = acted.text().trim().parse()?;
    // Less than nothing is the error of the clocks.
    Ok(Duration::try_from_secs_f64(waited + ahead - happened).unwrap_or_default())
}

/// Seconds by which the guest's clock is ahead of ours. The agent reads it as the last thing before
/// it answers, so that the answer's way is all that lies between: half of an empty round trip.
async fn clock_ahead(guest: &Machine) -> Result<f64> {
    let (mut ahead, mut round_trip) = (f64::MIN, f64::MAX);
    for _ in 0..20 {
        let guests = Duration::from_nanos(guest.stats().await?.clock_ns).as_secs_f64();
        ahead = ahead.max(guests - now());
        let before = now();
        guest.thaw().await?;
        round_trip = round_trip.min(now() - before);
    }
    Ok(ahead + round_trip / 2.0)
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Of a lab with two machines, at the end of a passed test.
async fn shutdown(report: &Report) -> Result<()> {
    let mut samples = Vec::new();
    for _ in 0..5 {
        let lab = Lab::builder()
            .network("lan")
            .machine("a")
            .machine("b")
            .boot()
            .await?;
        let began = Instant::now();
        lab.shutdown().await;
        samples.push(began.elapsed());
    }
    report.milliseconds("wait/shutdown", &samples, Some(100.0), None);
    Ok(())
}
