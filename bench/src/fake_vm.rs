//! A stand-in for a start script and its guest: it takes the arguments of the contract, notes when
//! it was started, and its guest is a shell of this host. So what is measured is the driver alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::start::monotonic;

/// Under this name the benchmark plays it.
pub(crate) const NAME: &str = "run-fake-vm";
/// What it writes into its working directory: nanoseconds of the clock that all processes share.
pub(crate) const STARTED: &str = "started";

/// What the benchmark does under that name.
pub(crate) fn play() -> Result<()> {
    std::fs::write(STARTED, monotonic()?.as_nanos().to_string())?;
    let arguments: Vec<String> = std::env::args().collect();
    let path = |before: &str| -> Result<PathBuf> {
        let found = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(before));
        let path = found.and_then(|rest| rest.split(',').next());
        Ok(path.ok_or_else(|| format!("no {before}"))?.into())
    };
    // As QEMU does, in the order of its command line.
    let machine_protocol = UnixListener::bind(path("unix:")?)?;
    let monitor = arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix("unix:"))
        .nth(1)
        .ok_or("no monitor")?;
    let monitor = UnixStream::connect(Path::new(monitor))?;
    let mut shell = UnixStream::connect(path("socket,id=shell,path=")?)?;
    (&monitor).write_all(b"QEMU 0.0.0 monitor - type 'help' for more information\r\n(qemu) ")?;
    std::thread::spawn(move || answer(&machine_protocol));
    shell.write_all(b"Spawning backdoor root shell...\n")?;
    let input: OwnedFd = shell.try_clone()?.into();
    let status = Command::new("bash")
        .arg("--norc")
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(OwnedFd::from(shell)))
        .stderr(Stdio::inherit())
        .status()?;
    drop(monitor);
    std::process::exit(status.code().unwrap_or(1));
}

/// A machine protocol that agrees to everything.
fn answer(listener: &UnixListener) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    let greeting = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;
    let _ = writeln!(stream, "{greeting}");
    let Ok(lines) = stream.try_clone() else {
        return;
    };
    for line in BufReader::new(lines).lines().map_while(std::io::Result::ok) {
        let Ok(command) = serde_json::from_str::<serde_json::Value>(&line) else {
            return;
        };
        let answer = serde_json::json!({ "return": {}, "id": command["id"] });
        if writeln!(stream, "{answer}").is_err() {
            return;
        }
    }
}
