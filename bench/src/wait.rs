//! From the event in the guest to the wait's return on the host.
//!
//! Host and guest clocks cannot be compared, so each sample is a wait that ends with what a
//! command does at its end; the command's own exit, which travels the same way, is the mark.

use std::time::{Duration, Instant};

use attest::{Lab, Machine, Wait};

use crate::Result;
use crate::figure::Report;

const SAMPLES: usize = 20;

pub(crate) async fn run(report: &Report) -> Result<()> {
    let lab = Lab::builder().machine_with("guest", |machine| machine.vcpus = Some(2)).boot().await?;
    let guest = lab.machine("guest")?;
    let file = "rm -f /tmp/event; sleep 0.2; touch /tmp/event";
    sample(report, &guest, "wait/file", 5.0, file, |guest| guest.wait_for_file("/tmp/event"), "rm -f /tmp/event").await?;
    let port = "sleep 0.2; nc -l -p 4711 -e true & sleep 0.2; until grep -q ':1267 .* 0A ' /proc/net/tcp; do :; done";
    sample(report, &guest, "wait/port", 10.0, port, |guest| guest.wait_for_port(4711), "true").await?;
    let command = "rm -f /tmp/ready; sleep 0.2; touch /tmp/ready";
    let until = |guest: &Machine| guest.wait_until_succeeds("test -e /tmp/ready");
    sample(report, &guest, "wait/command", 25.0, command, until, "rm -f /tmp/ready").await?;
    let console = "sleep 0.2; echo event-$$ >/dev/console";
    let mut latencies = Vec::new();
    for number in 0..SAMPLES {
        let text = format!("event number {number};");
        let wait = guest.wait_for_console_text(text.clone());
        let shell = guest.shell(format!("sleep 0.2; echo '{text}' > /dev/console"));
        latencies.push(latency(wait, shell).await?);
    }
    let _ = console;
    report.milliseconds("wait/console", &latencies, Some(5.0), None);
    let mut shutdowns = Vec::new();
    let began = Instant::now();
    lab.shutdown().await;
    shutdowns.push(began.elapsed());
    for _ in 0..4 {
        let lab = Lab::builder().network("lan").machine("a").machine("b").boot().await?;
        let began = Instant::now();
        lab.shutdown().await;
        shutdowns.push(began.elapsed());
    }
    report.milliseconds("wait/shutdown", &shutdowns, Some(100.0), None);
    Ok(())
}

async fn sample(
    report: &Report,
    guest: &Machine,
    name: &str,
    budget: f64,
    command: &str,
    wait: impl Fn(&Machine) -> Wait,
    clean: &str,
) -> Result<()> {
    let mut latencies = Vec::new();
    for _ in 0..SAMPLES {
        guest.shell(clean).await?;
        latencies.push(latency(wait(guest), guest.shell(command)).await?);
    }
    report.milliseconds(name, &latencies, Some(budget), None);
    Ok(())
}

/// How much later than the command's end the wait came back; 0 when it came first.
async fn latency(wait: Wait, command: attest::Command) -> Result<Duration> {
    let waiting = async { wait.await.map(|_| Instant::now()) };
    let acting = async { command.await.map(|_| Instant::now()) };
    let (waited, acted) = tokio::join!(waiting, acting);
    Ok(waited?.saturating_duration_since(acted?))
}
