//! The drop-in for the NixOS test driver on a guest with a backdoor: beside the two round trips that the
//! Python driver's wire needs, and beside that driver where there is one on `PATH`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attest::Lab;
use attest::scripts::{AgentUse, ScriptKind, ScriptMachine, ScriptsPlan};
use attest_fixture::{Fixture, Node};

use crate::Result;
use crate::figure::{Compared, Report, median_ms};
use crate::{labs, programs};

/// Of commands, one after the other on each guest.
const ALTERNATIONS: usize = 100;
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

pub(crate) async fn run(report: &Report) -> Result<()> {
    let fixture = match Fixture::new() {
        Ok(fixture) => fixture,
        Err(error) => {
            report.skipped("dropin", &error.to_string());
            return Ok(());
        }
    };
    let directory = tempfile::tempdir()?;
    let script = fixture.write(directory.path(), &Node::new("m", 1))?;
    beside_the_wire(report, directory.path(), &script).await?;
    drivers(report, directory.path(), &script)
}

/// Commands through the shell of one guest, each right after the same on another, as the wire of the
/// Python driver has it: two round trips, and nothing else.
async fn beside_the_wire(report: &Report, directory: &Path, script: &Path) -> Result<()> {
    let mut plan = ScriptsPlan::new(directory.join("lab"));
    plan.agent = AgentUse::Never;
    plan.machines.push(ScriptMachine {
        name: "m".to_owned(),
        command: script.display().to_string(),
        kind: ScriptKind::Vm,
    });
    let lab = Lab::of_scripts(plan, labs::context(directory)).await?;
    let machine = lab.machine("m")?;
    machine.connect(None).await?;
    let mut wire = Wire::start(directory, script)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..ALTERNATIONS + 5 {
        let began = Instant::now();
        machine.shell("true").without_timeout().await?;
        let took = began.elapsed();
        let other = wire.run_true()?;
        if number >= 5 {
            ours.push(took);
            theirs.push(other);
        }
    }
    lab.shutdown().await;
    let compared = Compared {
        what: "the two round trips of the Python driver's wire",
        median: median_ms(&theirs),
    };
    report.milliseconds("dropin/true-by-shell", &ours, None, Some(compared));
    report.ratio("dropin/true-by-shell-ratio", &ours, &theirs, 1.0);
    Ok(())
}

/// Whole runs of one script: through the shell, through the agent, and by the Python driver.
fn drivers(report: &Report, directory: &Path, script: &Path) -> Result<()> {
    let test = directory.join("test.py");
    let source = SCRIPT
        .replace("CALLS", &CALLS.to_string())
        .replace("WAITS", &WAITS.to_string());
    std::fs::write(&test, source)?;
    let attest = programs::attest()?;
    let ours = |agent: &str| {
        let mut command = Command::new(&attest);
        command.arg("nixos-test-driver").env("ATTEST_AGENT", agent);
        command
    };
    let peer = if let Some(peer) = programs::nixos_test_driver(&attest) {
        Some(measure(Command::new(peer), directory, script, &test)?)
    } else {
        report.skipped("dropin/peer", "no nixos-test-driver on PATH but this one");
        None
    };
    let by_shell = measure(ours("never"), directory, script, &test)?;
    let by_agent = measure(ours("auto"), directory, script, &test)?;
    let compared = |of: fn(&Measured) -> Vec<Duration>| {
        peer.as_ref().map(|peer| Compared {
            what: "the Python driver",
            median: median_ms(&of(peer)),
        })
    };
    let succeed = |measured: &Measured| measured.succeed.clone();
    report.milliseconds(
        "dropin/succeed-by-shell",
        &by_shell.succeed,
        None,
        compared(succeed),
    );
    report.milliseconds(
        "dropin/succeed-by-agent",
        &by_agent.succeed,
        None,
        compared(succeed),
    );
    // The guest's clock of this file has hundredths of a second.
    let waits = Measured::waits;
    report.milliseconds(
        "dropin/wait-by-shell",
        &waits(&by_shell),
        Some(100.0),
        compared(waits),
    );
    report.milliseconds(
        "dropin/wait-by-agent",
        &waits(&by_agent),
        Some(15.0),
        compared(waits),
    );
    let whole = |measured: &Measured| vec![measured.whole];
    report.milliseconds(
        "dropin/run-by-shell",
        &whole(&by_shell),
        None,
        compared(whole),
    );
    report.milliseconds(
        "dropin/run-by-agent",
        &whole(&by_agent),
        None,
        compared(whole),
    );
    Ok(())
}

impl Measured {
    /// From what was waited for to the return of the wait, without the look at the clock after it.
    fn waits(&self) -> Vec<Duration> {
        let waits = self.waits.iter();
        waits.map(|wait| wait.saturating_sub(self.look)).collect()
    }
}

fn measure(mut driver: Command, directory: &Path, script: &Path, test: &Path) -> Result<Measured> {
    let file = directory.join("samples.json");
    let began = Instant::now();
    // The first generation: every Python driver takes it, or its environment.
    let output = driver
        .env("startScripts", script)
        .env("vlans", "")
        .env("testScript", test)
        .env("globalTimeout", "600")
        .env("XDG_RUNTIME_DIR", directory)
        .env("SAMPLES", &file)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()?;
    let whole = began.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{driver:?} ended with {}:\n{said}", output.status).into());
    }
    let samples: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
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

/// A guest that is started and asked as the contract has it, by nothing more than that takes.
struct Wire {
    _guest: Guest,
    _state: tempfile::TempDir,
    _monitor: UnixStream,
    reader: BufReader<UnixStream>,
    shell: UnixStream,
}

impl Wire {
    fn start(directory: &Path, script: &Path) -> Result<Self> {
        let state = tempfile::tempdir_in(directory)?;
        let path = |name: &str| state.path().join(name);
        let monitor = UnixListener::bind(path("monitor"))?;
        let shell = UnixListener::bind(path("shell"))?;
        let line = format!(
            "exec {} -qmp unix:{},server=on,wait=off -monitor unix:{} -chardev socket,id=shell,path={} \
             -device virtio-serial -device virtconsole,chardev=shell -device virtio-rng-pci \
             -serial stdio -no-reboot -nographic",
            script.display(),
            path("qmp").display(),
            path("monitor").display(),
            path("shell").display()
        );
        let guest = Guest(
            Command::new("sh")
                .args(["-c", &line])
                .current_dir(state.path())
                .env("TMPDIR", state.path())
                .env("SHARED_DIR", state.path())
                .env("USE_TMPDIR", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()?,
        );
        let (monitor, _) = monitor.accept()?;
        let (shell, _) = shell.accept()?;
        let mut reader = BufReader::new(shell.try_clone()?);
        let mut announced = String::new();
        while !announced.contains("Spawning backdoor root shell...") {
            announced.clear();
            reader.read_line(&mut announced)?;
        }
        Ok(Self {
            _guest: guest,
            _state: state,
            _monitor: monitor,
            reader,
            shell,
        })
    }

    fn run_true(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let mut answer = String::new();
        let command = b" bash -c 'set -euo pipefail; true' | (base64 -w 0; echo)\n";
        self.shell.write_all(command)?;
        self.reader.read_line(&mut answer)?;
        answer.clear();
        self.shell.write_all(b"echo ${PIPESTATUS[0]}\n")?;
        self.reader.read_line(&mut answer)?;
        let took = began.elapsed();
        if answer.trim() != "0" {
            return Err(format!("the guest answered `{}`", answer.trim()).into());
        }
        Ok(took)
    }
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
