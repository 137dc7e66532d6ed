//! The `ssh` backend: hosts that run already, over the OpenSSH client. One connection carries all:
//! first the agent's program, which the host's shell becomes, and then the stream to it. When either
//! side goes, so does the other, and nothing is left on the host.

mod running;
mod script;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::socket::pair;
use crate::{
    Ability, AgentStreams, Backend, Body, BoxFuture, HostConfig, Launcher, MachineConfig,
    StartTimings, Started, VmmError, Wanted, installed_program,
};

use running::Connection;

/// The program's name.
pub const PROGRAM: &str = "ssh";
const PACKAGES: &str = "install OpenSSH's client: `apt install openssh-client` (Debian), \
     `dnf install openssh-clients` (Fedora), `pacman -S openssh` (Arch), `nix shell nixpkgs#openssh` (Nix)";
const RUNS: &str = "the host runs already, and is not attest's";

/// Options that make it a plain pipe: nobody is asked, nothing is forwarded or shared, and a host
/// that is gone is noticed within a minute.
const FIXED: [&str; 7] = [
    "-oBatchMode=yes",
    "-oClearAllForwardings=yes",
    "-oControlPath=none",
    "-oRequestTTY=no",
    "-oServerAliveInterval=15",
    "-oServerAliveCountMax=3",
    "-oConnectTimeout=30",
];

/// Reaches machines that run already.
#[derive(Debug, Default)]
pub struct Ssh;

/// Whether there is an OpenSSH client; else what to do.
///
/// # Errors
/// The reason, for people.
pub fn probe() -> Result<PathBuf, String> {
    installed_program(PROGRAM, PACKAGES)
}

impl Backend for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        Some(match ability {
            Ability::Image
            | Ability::Kernel
            | Ability::Size
            | Ability::Disks
            | Ability::RateLimits
            | Ability::Balloon
            | Ability::Jailer
            | Ability::Clock
            | Ability::Pause
            | Ability::PowerOff => RUNS,
            Ability::Networks => "the host has networks of its own; give it `networks = []`",
            Ability::Console => "its console is not reached by ssh",
            Ability::Reboot => "the connection would end with it",
            Ability::Snapshots => {
                "a host that runs already cannot be saved; run its tests one after the other"
            }
        })
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        probe().map(drop).map_err(VmmError::unable(&wanted.machine))
    }

    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        _: &'a dyn Launcher,
    ) -> BoxFuture<'a, Result<Started, VmmError>> {
        Box::pin(start(machine))
    }
}

/// Not in the lab, which reaches nothing outside.
async fn start(machine: MachineConfig) -> Result<Started, VmmError> {
    let began = Instant::now();
    let MachineConfig {
        name,
        body: Body::Host(host),
        log,
        ..
    } = machine
    else {
        return Err(VmmError::WrongBody {
            machine: machine.name,
            backend: "ssh",
        });
    };
    let path = probe().map_err(VmmError::unable(&name))?;
    let (script, agent) = script::start(&host.agent);
    let failed = |action| VmmError::host(&name, action);
    let (mut stream, far) = pair().map_err(failed("its socket cannot be made"))?;
    let (words, words_end) = std::io::pipe().map_err(failed("its pipe cannot be made"))?;
    let far_again = far
        .try_clone()
        .map_err(failed("its socket cannot be made"))?;
    let child = tokio::process::Command::new(path)
        .args(arguments(&host, &script))
        .stdin(Stdio::from(far))
        .stdout(Stdio::from(far_again))
        .stderr(Stdio::from(OwnedFd::from(words_end)))
        // Ctrl-C in a terminal is for the driver alone.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed("ssh cannot be run"))?;
    let running = Connection::follow(child, words.into(), log)
        .map_err(failed("ssh's output cannot be read"))?;
    let prepare = began.elapsed();
    // A connection that fails says so by its end, not here.
    let _ = stream.write_all(&agent).await;
    let (console, silent) = UnixStream::pair().map_err(failed("its socket cannot be made"))?;
    drop(silent);
    Ok(Started {
        running: Box::new(running),
        agent: AgentStreams::One(stream),
        console,
        chosen: Vec::new(),
        timings: StartTimings {
            prepare,
            vmm: began.elapsed().saturating_sub(prepare),
        },
    })
}

fn arguments(host: &HostConfig, script: &str) -> Vec<OsString> {
    let mut args: Vec<OsString> = FIXED.map(OsString::from).to_vec();
    if let Some(port) = host.port {
        args.push(format!("-oPort={port}").into());
    }
    if let Some(identity) = &host.identity {
        args.push("-i".into());
        args.push(identity.into());
        args.push("-oIdentitiesOnly=yes".into());
    }
    for option in &host.options {
        args.push(format!("-o{option}").into());
    }
    let user = host.user.as_deref().unwrap_or("root");
    args.extend(["-l", user, "--", &host.host, script].map(OsString::from));
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_everything() {
        let host = HostConfig {
            host: "box".to_owned(),
            port: Some(2222),
            user: Some("tester".to_owned()),
            identity: Some("/keys/one".into()),
            options: vec!["StrictHostKeyChecking=no".to_owned()],
            agent: Vec::new(),
        };
        let args = arguments(&host, "SCRIPT");
        let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        let (fixed, rest) = args.split_at(FIXED.len());
        assert_eq!(fixed, FIXED);
        let expected = "-oPort=2222 -i /keys/one -oIdentitiesOnly=yes -oStrictHostKeyChecking=no \
             -l tester -- box SCRIPT";
        assert_eq!(rest.join(" "), expected);
        let plain = HostConfig {
            host: "box".to_owned(),
            ..HostConfig::default()
        };
        let args = arguments(&plain, "S");
        assert_eq!(args[FIXED.len()..], ["-l", "root", "--", "box", "S"]);
    }
}
