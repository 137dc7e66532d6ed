//! From QEMU's start to the first output of a command, beside the same kernel and initramfs
//! started by hand with the same options.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use attest::Lab;
use attest::run::timestamp;

use crate::figure::{Compared, Report, median_ms};
use crate::{Result, labs};

const SAMPLES: usize = 7;
const WORD: &str = "attest-bench-ready";
/// What attest's may take more than the one by hand.
const MARGIN: f64 = 1.15;

pub(crate) async fn run(report: &Report) -> Result<()> {
    let (mut ours, mut by_hand, mut shutdowns) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let (took, command, shutdown) = with_attest().await?;
        ours.push(took);
        shutdowns.push(shutdown);
        by_hand.push(tokio::task::spawn_blocking(move || without(&command)).await??);
    }
    let floor = median_ms(&by_hand);
    let compared = Compared {
        what: "the same, started by hand",
        median: floor,
    };
    report.milliseconds(
        "boot/bare-to-first-output",
        &ours,
        Some(floor * MARGIN),
        Some(compared),
    );
    report.milliseconds("boot/shutdown", &shutdowns, Some(100.0), None);
    Ok(())
}

/// Start a machine and have it say a word; also gives QEMU's command line, and what ending the
/// lab took.
async fn with_attest() -> Result<(Duration, Vec<String>, Duration)> {
    let output = tempfile::tempdir()?;
    let plan = Lab::builder().machine("guest").plan()?;
    let lab = Lab::create(plan, labs::context(output.path())).await?;
    let guest = lab.machine("guest")?;
    let began = Instant::now();
    guest.start().await?;
    let said = guest.exec(["/bin/busybox", "echo", WORD]).await?;
    let took = began.elapsed();
    if said.text().trim() != WORD {
        return Err(format!(
            "the guest said {:?} at {}",
            said.text(),
            timestamp(SystemTime::now())
        )
        .into());
    }
    let pid = guest.vmm_pid().await.ok_or("the machine has no VMM")?;
    let command = command_line(pid)?;
    let ending = Instant::now();
    lab.shutdown().await;
    Ok((took, command, ending.elapsed()))
}

/// Of a process: its program and arguments.
pub(crate) fn command_line(pid: u32) -> Result<Vec<String>> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
    let words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    Ok(words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect())
}

/// The same QEMU, kernel and initramfs; the guest's first program says the word at the console.
fn without(command: &[String]) -> Result<Duration> {
    let (program, arguments) = command.split_first().ok_or("QEMU has no command line")?;
    let mut arguments: Vec<String> = arguments.to_vec();
    let mut append = false;
    for argument in &mut arguments {
        if append {
            *argument = format!("{argument} rdinit=/bin/busybox -- echo {WORD}");
        }
        append = argument == "-append";
        if argument.starts_with("socket,id=console,") {
            "stdio,id=console".clone_into(argument);
        } else if let Some((id, _)) = argument
            .strip_prefix("socket,id=")
            .and_then(|rest| rest.split_once(','))
        {
            *argument = format!("null,id={id}");
        }
    }
    let began = Instant::now();
    let mut qemu = Command::new(program)
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let console = BufReader::new(qemu.stdout.take().ok_or("no console")?);
    let mut lines = console.split(b'\n').map_while(std::result::Result::ok);
    let said = lines.find(|line| String::from_utf8_lossy(line).contains(WORD));
    let took = began.elapsed();
    qemu.kill()?;
    qemu.wait()?;
    said.map(|_| took)
        .ok_or_else(|| "the guest that was started by hand said nothing".into())
}
