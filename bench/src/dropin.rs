//! The drop-in for the NixOS test driver on a guest with a backdoor: beside the Python driver
//! where there is one on `PATH`, else beside the two round trips that its wire needs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attest_fixture::{Fixture, Node};

use crate::Result;
use crate::figure::{Compared, Report, median_ms};
use crate::start::attest_binary;

const CALLS: usize = 60;
const WAITS: usize = 12;

/// Times commands and waits, in any driver. What is waited for is made by the guest itself, which
/// also says when: both times are of its clock.
const SCRIPT: &str = "\
import json, os, time
machine.start()
machine.succeed('true')
def times(call, count):
    samples = []
    for _ in range(count):
        began = time.perf_counter_ns()
        call()
        samples.append(time.perf_counter_ns() - began)
    return samples
times(lambda: machine.succeed('true'), 5)
succeed = times(lambda: machine.succeed('true'), CALLS)
now = times(lambda: machine.succeed('cat /proc/uptime'), 10)
waits = []
for number in range(WAITS):
    path = '/tmp/file%d' % number
    machine.succeed('(sleep 0.7; cut -d\" \" -f1 /proc/uptime > %s.tmp; mv %s.tmp %s) >/dev/null 2>&1 &' % (path, path, path))
    machine.wait_for_file(path)
    after = float(machine.succeed('cat /proc/uptime').split()[0])
    before = float(machine.succeed('cat ' + path))
    waits.append(int((after - before) * 1e9))
with open(os.environ['SAMPLES'], 'w') as file:
    json.dump({'succeed': succeed, 'now': now, 'waits': waits}, file)
";

/// What a driver was measured to take.
struct Measured {
    succeed: Vec<Duration>,
    /// The command that looks at the clock after a wait: a part of each sample of that.
    look: Duration,
    waits: Vec<Duration>,
    whole: Duration,
}

pub(crate) fn run(report: &Report) -> Result<()> {
    let fixture = match Fixture::new() {
        Ok(fixture) => fixture,
        Err(error) => {
            report.skipped("dropin", &error.to_string());
            return Ok(());
        }
    };
    let directory = tempfile::tempdir()?;
    let script = fixture.write(directory.path(), &Node::new("m", 1))?;
    let test = directory.path().join("test.py");
    let text = SCRIPT
        .replace("CALLS", &CALLS.to_string())
        .replace("WAITS", &WAITS.to_string());
    std::fs::write(&test, text)?;
    let attest = attest_binary()?;
    let ours = |agent: &str| {
        let mut command = Command::new(&attest);
        command.arg("nixos-test-driver").env("ATTEST_AGENT", agent);
        command
    };
    let by_shell = measure(ours("never"), directory.path(), &script, &test)?;
    let by_agent = measure(ours("auto"), directory.path(), &script, &test)?;
    let peer = peer(&attest);
    let (what, other) = match &peer {
        Some(peer) => {
            let measured = measure(Command::new(peer), directory.path(), &script, &test)?;
            report.milliseconds(
                "dropin/whole-run-of-the-peer",
                &[measured.whole],
                None,
                None,
            );
            ("the Python driver", measured)
        }
        None => {
            report.skipped(
                "dropin/peer",
                "no nixos-test-driver on PATH but this one; compared with the two round trips of its wire",
            );
            (
                "the two round trips of the wire",
                on_the_wire(directory.path(), &script)?,
            )
        }
    };
    let compared = |median| Compared { what, median };
    report.milliseconds(
        "dropin/succeed-by-shell",
        &by_shell.succeed,
        None,
        Some(compared(median_ms(&other.succeed))),
    );
    report.ratio(
        "dropin/succeed-by-shell-ratio",
        &by_shell.succeed,
        &other.succeed,
        1.0,
    );
    report.milliseconds(
        "dropin/succeed-by-agent",
        &by_agent.succeed,
        None,
        Some(compared(median_ms(&other.succeed))),
    );
    let waits = |measured: &Measured| -> Vec<Duration> {
        measured
            .waits
            .iter()
            .map(|wait| wait.saturating_sub(measured.look))
            .collect()
    };
    let peers = peer.is_some().then(|| compared(median_ms(&waits(&other))));
    // The guest's clock of this file has hundredths of a second.
    report.milliseconds(
        "dropin/wait-by-shell",
        &waits(&by_shell),
        Some(100.0),
        peers.clone(),
    );
    report.milliseconds("dropin/wait-by-agent", &waits(&by_agent), Some(15.0), peers);
    report.milliseconds("dropin/whole-run-by-shell", &[by_shell.whole], None, None);
    report.milliseconds("dropin/whole-run-by-agent", &[by_agent.whole], None, None);
    Ok(())
}

/// A NixOS test driver that is not attest.
fn peer(attest: &Path) -> Option<PathBuf> {
    let own = attest.canonicalize().ok()?;
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("nixos-test-driver"))
        .find(|program| program.canonicalize().is_ok_and(|program| program != own))
}

fn measure(mut driver: Command, directory: &Path, script: &Path, test: &Path) -> Result<Measured> {
    let samples = directory.join("samples.json");
    let began = Instant::now();
    // The first generation: every Python driver takes it, or its environment.
    let output = driver
        .env("startScripts", script)
        .env("vlans", "")
        .env("testScript", test)
        .env("globalTimeout", "600")
        .env("XDG_RUNTIME_DIR", directory)
        .env("SAMPLES", &samples)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()?;
    let whole = began.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{driver:?} ended with {}:\n{said}", output.status).into());
    }
    let text = std::fs::read_to_string(&samples)?;
    let samples: serde_json::Value = serde_json::from_str(&text)?;
    let times = |name: &str| -> Result<Vec<Duration>> {
        let nanoseconds: Vec<i64> = serde_json::from_value(samples[name].clone())?;
        Ok(nanoseconds
            .into_iter()
            .map(|nanoseconds| Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
            .collect())
    };
    Ok(Measured {
        succeed: times("succeed")?,
        look: Duration::from_secs_f64(median_ms(&times("now")?) / 1e3),
        waits: times("waits")?,
        whole,
    })
}

/// The guest alone, started as the contract has it, and asked as the contract has it.
fn on_the_wire(directory: &Path, script: &Path) -> Result<Measured> {
    let began = Instant::now();
    let state = tempfile::tempdir_in(directory)?;
    let path = |name: &str| state.path().join(name);
    let (monitor, shell) = (
        UnixListener::bind(path("monitor"))?,
        UnixListener::bind(path("shell"))?,
    );
    let line = format!(
        "{} -qmp unix:{},server=on,wait=off -monitor unix:{} -chardev socket,id=shell,path={} \
         -device virtio-serial -device virtconsole,chardev=shell -device virtio-rng-pci -serial stdio \
         -no-reboot -nographic",
        script.display(),
        path("qmp").display(),
        path("monitor").display(),
        path("shell").display()
    );
    let mut guest = Guest(
        Command::new("sh")
            .arg("-c")
            .arg(format!("exec {line}"))
            .current_dir(state.path())
            .env("TMPDIR", state.path())
            .env("SHARED_DIR", state.path())
            .env("USE_TMPDIR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?,
    );
    let _monitor = monitor.accept()?;
    let (shell, _) = shell.accept()?;
    let mut reader = BufReader::new(shell.try_clone()?);
    let mut announced = String::new();
    while !announced.contains("Spawning backdoor root shell...") {
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        announced.push(char::from(byte[0]));
    }
    reader.read_line(&mut announced)?;
    let mut succeed = Vec::new();
    for number in 0..CALLS + 5 {
        let took = true_by_two_round_trips(&shell, &mut reader)?;
        if number >= 5 {
            succeed.push(took);
        }
    }
    guest.0.kill()?;
    Ok(Measured {
        succeed,
        look: Duration::ZERO,
        waits: Vec::new(),
        whole: began.elapsed(),
    })
}

fn true_by_two_round_trips(
    mut shell: &UnixStream,
    reader: &mut BufReader<UnixStream>,
) -> Result<Duration> {
    let began = Instant::now();
    let mut answer = String::new();
    shell.write_all(b" bash -c 'set -euo pipefail; true' | (base64 -w 0; echo)\n")?;
    reader.read_line(&mut answer)?;
    answer.clear();
    shell.write_all(b"echo ${PIPESTATUS[0]}\n")?;
    reader.read_line(&mut answer)?;
    let took = began.elapsed();
    if answer.trim() != "0" {
        return Err(format!("the guest answered `{}`", answer.trim()).into());
    }
    Ok(took)
}

/// Ends with this.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Ended already, at best.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
