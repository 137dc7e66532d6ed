//! VLANs of start scripts: a `vde_switch` each, in the lab.

use std::ffi::OsString;
use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attest_events::EventKind;
use attest_lab::{LabProcess, Process, ProcessExit, Spawn};
use attest_vmm::installed_program;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use super::ScriptsError;
use crate::error::{Error, Result};
use crate::recorder::Recorder;

const PROGRAM: &str = "vde_switch";
/// Of the same package.
const PLUG: &str = "vde_plug2tap";
const PACKAGES: &str = "install it: `apt install vde2` (Debian, Ubuntu), `dnf install vde2` (Fedora), \
     `pacman -S vde2` (Arch), `nix shell nixpkgs#vde2` (Nix)";
/// One of its commands, and a word of the answer: when it answers, its sockets are there.
const ASKED: &[u8] = b"showinfo\n";
const ANSWERED: &str = "VDE";
/// It answers after milliseconds; what says nothing for this long is no switch.
const ANSWERS: Duration = Duration::from_secs(30);
/// Most that it may say before its answer, bytes.
const MOST: u64 = 64 * 1024;

/// What makes VLANs on this host; else what to do.
pub(crate) fn probe_vlans() -> std::result::Result<PathBuf, String> {
    installed_program(PROGRAM, PACKAGES)
}

/// What gives containers cards on VLANs on this host; else what to do.
pub(crate) fn probe_cards_of_containers() -> std::result::Result<PathBuf, String> {
    attest_vmm::nspawn::probe()?;
    installed_program(PLUG, PACKAGES)
}

/// A VLAN of a lab of start scripts.
#[derive(Debug)]
pub struct Vlan {
    number: u32,
    directory: PathBuf,
    process: Arc<Process>,
    /// It ends with it.
    _input: PipeWriter,
}

impl Vlan {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The directory of its switch's sockets.
    pub fn socket_dir(&self) -> &Path {
        &self.directory
    }

    /// The process number of its switch, on the host.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// By which start scripts find it.
    pub(super) fn variable(&self) -> (OsString, OsString) {
        let name = format!("QEMU_VDE_SOCKET_{}", self.number);
        (name.into(), self.directory.clone().into())
    }

    /// Start the switch; it is ready when this returns. With a card for `containers`, where this
    /// host has what makes it.
    pub(super) async fn start(
        lab: &LabProcess,
        base: &Path,
        number: u32,
        containers: bool,
    ) -> Result<Self> {
        let refused = |reason: String| Error::from(ScriptsError::Vlan { number, reason });
        let directory = directory(base, number);
        let program = installed_program(PROGRAM, PACKAGES).map_err(refused)?;
        let io = |error: io::Error| refused(format!("its pipes cannot be made: {error}"));
        let (input, mut commands) = io::pipe().map_err(io)?;
        let (words, output) = io::pipe().map_err(io)?;
        let mut spawn = Spawn::default();
        spawn.program = program;
        spawn.args = ["--sock".into(), directory.clone().into()]
            .into_iter()
            .chain(["--dirmode", "0700", "--hub"].map(OsString::from))
            .collect();
        spawn.environment = std::env::vars_os().collect();
        spawn.input = Some(input.into());
        spawn.output = Some(output.into());
        let process = lab.spawn(spawn).await?;
        // What does not fit in a pipe that nobody reads is not needed.
        let _ = io::Write::write_all(&mut commands, ASKED);
        let words = pipe::Receiver::from_owned_fd(words.into()).map_err(io)?;
        let mut words = BufReader::new(words);
        let said = tokio::time::timeout(ANSWERS, until_answer(&mut words)).await;
        match said {
            Ok(Ok(())) => {}
            Ok(Err(said)) => {
                let exit = process.exited().await;
                return Err(refused(format!("{PROGRAM} {}: {said}", ended(exit))));
            }
            Err(_) => return Err(refused(format!("{PROGRAM} says nothing"))),
        }
        if containers {
            plug(lab, &directory, number).await?;
        }
        // It must never wait for a reader.
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut words, &mut tokio::io::sink()).await;
        });
        Ok(Self {
            number,
            directory,
            process: Arc::new(process),
            _input: commands,
        })
    }

    /// A switch that ends takes the network with it: not without a word.
    pub(super) fn watch(&self, recorder: Recorder) {
        let (process, number) = (Arc::clone(&self.process), self.number);
        tokio::spawn(async move {
            let exit = process.exited().await;
            if exit != ProcessExit::LabEnded {
                let message = format!(
                    "VLAN {number} is gone: {PROGRAM} {}; machines reach each other no more",
                    ended(exit)
                );
                recorder.record(EventKind::Warning { message });
            }
        });
    }
}

fn directory(base: &Path, number: u32) -> PathBuf {
    base.join(format!("vde{number}.ctl"))
}

/// Give the lab's network a card on the VLAN, by the name under which scripts of containers join it
/// to their bridge. Older scripts do not look for it.
async fn plug(lab: &LabProcess, directory: &Path, number: u32) -> Result<()> {
    let Ok(program) = installed_program(PLUG, PACKAGES) else {
        return Ok(());
    };
    let mut spawn = Spawn::default();
    spawn.program = program;
    spawn.args = vec![
        "-s".into(),
        directory.into(),
        format!("vde-tap{number}").into(),
    ];
    spawn.environment = std::env::vars_os().collect();
    // It ends with the lab.
    lab.spawn(spawn).await?;
    Ok(())
}

/// Until it answers; else with what it said until its end.
async fn until_answer(
    words: &mut (impl AsyncBufReadExt + Unpin),
) -> std::result::Result<(), String> {
    let mut said = String::new();
    let mut words = words.take(MOST);
    loop {
        let before = said.len();
        let read = words.read_line(&mut said).await.unwrap_or(0);
        if read == 0 {
            let said = said.trim().replace('\n', "; ");
            return Err(if said.is_empty() {
                "it said nothing".to_owned()
            } else {
                said
            });
        }
        if said[before..].contains(ANSWERED) {
            return Ok(());
        }
    }
}

fn ended(exit: ProcessExit) -> String {
    match exit {
        ProcessExit::Code(code) => format!("ended with exit code {code}"),
        ProcessExit::Signal(signal) => format!("was ended by signal {signal}"),
        ProcessExit::LabEnded => "ended with the lab".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_switch_is_ready_when_it_answers() {
        let mut good = BufReader::new("\nvde$ 0000 DATA END WITH '.'\nVDE 2.3.2\n".as_bytes());
        until_answer(&mut good).await.unwrap();
        let mut bad = BufReader::new("no such directory\nleaving\n".as_bytes());
        assert_eq!(
            until_answer(&mut bad).await.unwrap_err(),
            "no such directory; leaving"
        );
    }
}
