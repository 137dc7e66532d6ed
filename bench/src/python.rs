//! What a Python script costs: from the start of attest to its machine, and each call.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use attest::run::{ScriptPart, ScriptRunner, ScriptVerdict};
use attest::{Lab, Recorder};

use crate::Result;
use crate::fake_vm;
use crate::figure::{Compared, Report, median_ms};
use crate::programs;
use crate::start::monotonic;

const STARTS: usize = 20;
const CALLS: usize = 300;

/// Times calls, and writes their nanoseconds into the directory of its results.
const CALL: &str = "\
import json, os, time
guest = machines[0]
def times(call, count):
    samples = []
    for _ in range(count):
        began = time.perf_counter_ns()
        call()
        samples.append(time.perf_counter_ns() - began)
    return samples
times(lambda: guest.execute('true'), 20)
result = {
    'execute': times(lambda: guest.execute('true'), CALLS),
    'succeed': times(lambda: guest.succeed('true'), CALLS),
}
with open(os.path.join(driver.out_dir, 'samples.json'), 'w') as file:
    json.dump(result, file)
";

pub(crate) async fn run(report: &Report) -> Result<()> {
    starts(report)?;
    calls(report).await
}

/// From the start of the drop-in to that of the first machine's program, and to the end of the
/// first command in it.
fn starts(report: &Report) -> Result<()> {
    let attest = programs::attest()?;
    let interpreter = interpreter()?;
    let directory = tempfile::tempdir()?;
    let script = directory.path().join(fake_vm::NAME);
    std::os::unix::fs::symlink(std::env::current_exe()?, &script)?;
    let test = directory.path().join("test.py");
    let source = "machine.start()\nmachine.succeed('true')\nimport time\nopen('answered', 'w').write(str(time.clock_gettime_ns(time.CLOCK_MONOTONIC)))\n";
    std::fs::write(&test, source)?;
    let state = directory.path().join("vm-state-fake");
    let (mut to_machine, mut to_answer, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..=STARTS {
        let began = monotonic()?;
        let output = Command::new(&attest)
            .arg("nixos-test-driver")
            .arg("--start-scripts")
            .arg(&script)
            .args(["--agent", "never", "--"])
            .arg(&test)
            .env("XDG_RUNTIME_DIR", directory.path())
            .env("ATTEST_PYTHON", &interpreter)
            .env_remove("vlans")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the drop-in ended with {}:\n{said}", output.status).into());
        }
        let since = |path: PathBuf| -> Result<Duration> {
            let at = std::fs::read_to_string(path)?.parse()?;
            Ok(Duration::from_nanos(at).saturating_sub(began))
        };
        let machine = since(state.join(fake_vm::STARTED))?;
        let answer = since(directory.path().join("answered"))?;
        let python = python_alone(&interpreter)?;
        // The first is the cold one: the package is put into the cache, and compiled.
        if sample > 0 {
            to_machine.push(machine);
            to_answer.push(answer);
            bare.push(python);
        }
    }
    let compared = || Compared {
        what: "python3 -c pass",
        median: median_ms(&bare),
    };
    report.milliseconds(
        "python/start-to-machine",
        &to_machine,
        Some(60.0),
        Some(compared()),
    );
    report.milliseconds(
        "python/start-to-first-answer",
        &to_answer,
        None,
        Some(compared()),
    );
    Ok(())
}

/// The interpreter itself, behind whatever script stands for it on `PATH`.
fn interpreter() -> Result<PathBuf> {
    let python = attest_script::Python::find()?;
    let output = Command::new(python.program())
        .args(["-c", "import sys; print(sys.executable, end='')"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.into())
}

fn python_alone(interpreter: &Path) -> Result<Duration> {
    let began = Instant::now();
    let status = Command::new(interpreter).args(["-c", "pass"]).status()?;
    if !status.success() {
        return Err(format!("Python ended with {status}").into());
    }
    Ok(began.elapsed())
}

/// Calls of a script on a container, beside the same of Rust on the same container.
async fn calls(report: &Report) -> Result<()> {
    if let Err(reason) = attest_vmm::nspawn::probe() {
        report.skipped("python/call", &reason);
        return Ok(());
    }
    let lab = Lab::builder()
        .machine_with("guest", |machine| {
            machine.backend = Some(attest::Backend::Nspawn);
        })
        .boot()
        .await?;
    let guest = lab.machine("guest")?;
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("calls.py");
    std::fs::write(&script, CALL.replace("CALLS", &CALLS.to_string()))?;
    let mut rust = Vec::new();
    for number in 0..CALLS + 20 {
        let began = Instant::now();
        guest.shell("true").ignore_status().await?;
        if number >= 20 {
            rust.push(began.elapsed());
        }
    }
    let samples = in_python(&lab, &script, directory.path()).await?;
    lab.shutdown().await;
    let rust_median = median_ms(&rust);
    for (name, call) in [("python/execute", "execute"), ("python/succeed", "succeed")] {
        let nanoseconds: Vec<u64> = serde_json::from_value(samples[call].clone())?;
        let python: Vec<Duration> = nanoseconds.into_iter().map(Duration::from_nanos).collect();
        let compared = Compared {
            what: "the same call of Rust",
            median: rust_median,
        };
        report.milliseconds(name, &python, Some(rust_median + 0.3), Some(compared));
    }
    Ok(())
}

async fn in_python(lab: &Lab, script: &Path, output: &Path) -> Result<serde_json::Value> {
    let recorder = Recorder::silent();
    let scripts = attest_script::Scripts::default();
    let ran = scripts.run(lab, &recorder, script, &ScriptPart::Whole, output);
    match ran.await? {
        ScriptVerdict::Passed(_) => {}
        verdict => return Err(format!("the script did not pass: {verdict:?}").into()),
    }
    let text = std::fs::read_to_string(output.join("samples.json"))?;
    Ok(serde_json::from_str(&text)?)
}
