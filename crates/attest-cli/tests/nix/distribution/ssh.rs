//! Two builders behind real ssh, each in a network namespace of its own; one is killed with all that it does.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::{Pid, geteuid};

use super::place::{Place, Watched};
use super::processes::{builds, children, end, tree};

/// What takes part, beside Nix.
const PROGRAMS: [&str; 6] = ["ssh", "ssh-keygen", "ip", "unshare", "nsenter", "mount"];
/// It wants to be called by its whole path, and is not on everybody's PATH.
const SSHD: &str = "/usr/sbin/sshd";

/// What runs in namespaces of its own, and ends with what it starts.
const NAMESPACES: [&str; 7] = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// Of ssh: less than what attest itself gives it.
const PATIENCE: &str = "-o ServerAliveInterval=1 -o ServerAliveCountMax=2 -o ConnectTimeout=2";

/// The two hosts. They are gone with this.
struct Network {
    /// Makes the namespaces.
    unshare: Child,
    /// In the namespace from which both can be reached.
    outside: Pid,
}

/// What this host lacks.
fn lacks() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |name: &&str| std::env::split_paths(&path).any(|place| place.join(name).is_file());
    if !geteuid().is_root() {
        return Some("only root makes network namespaces with sshd in them".to_owned());
    }
    let missing = PROGRAMS.iter().find(|name| !is_there(name)).copied();
    let missing = missing.or_else(|| (!Path::new(SSHD).exists()).then_some(SSHD));
    if let Some(name) = missing {
        return Some(format!("this host has no {name}"));
    }
    let tried = Command::new(NAMESPACES[0])
        .args(&NAMESPACES[1..])
        .arg("true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tried.stderr);
    (!tried.status.success()).then(|| format!("no namespaces: {said}"))
}

/// The one of this Nix.
fn daemon(place: &Place) -> Result<PathBuf, String> {
    let daemon = place.program.with_file_name("nix-daemon");
    let is_there = daemon.exists();
    is_there
        .then_some(daemon)
        .ok_or_else(|| format!("{} has no nix-daemon beside it", place.version))
}

impl Network {
    fn new(place: &Place) -> Self {
        let own = place.path("").display().to_string();
        for name in ["host-key", "key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(place.path(name));
            assert!(keygen.status().unwrap().success());
        }
        for number in ["1", "2"] {
            let text = format!(
                "ListenAddress 10.77.{number}.2:22\nHostKey {own}host-key\nAuthorizedKeysFile {own}key.pub\n\
                 PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
                 SetEnv NIX_CONF_DIR={own} NIX_USER_CONF_FILES=/dev/null HOME={own}\n"
            );
            fs::write(place.path(&format!("sshd-{number}")), text).unwrap();
        }
        let text = format!(
            "IdentityFile {own}key\nIdentitiesOnly yes\nBatchMode yes\nStrictHostKeyChecking no\n\
             UserKnownHostsFile /dev/null\nLogLevel ERROR\n"
        );
        fs::write(place.path("ssh"), text).unwrap();
        fs::write(place.path("network.sh"), include_str!("network.sh")).unwrap();
        let mut command = Command::new(NAMESPACES[0]);
        place.settle(&mut command);
        command
            .args(&NAMESPACES[1..])
            .args(["sh", "network.sh", own.trim_end_matches('/'), SSHD])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut unshare = command.spawn().unwrap();
        let said = BufReader::new(unshare.stderr.take().unwrap());
        let mut lines = said.lines().map(Result::unwrap);
        let mut said = Vec::new();
        let mut listening = 0;
        while listening < 2 {
            let line = lines.next().unwrap_or_else(|| panic!("no sshd: {said:#?}"));
            listening += usize::from(line.contains("Server listening"));
            said.push(line);
        }
        // Nobody may have to wait until somebody reads.
        std::thread::spawn(move || lines.for_each(drop));
        let outside = children(Pid::from_raw(unshare.id().cast_signed()))[0];
        Self { unshare, outside }
    }

    /// The number of the host where this is built, and what runs there: its sshd, its Nix, the build.
    fn builder(&self, derivation: &str) -> (usize, Vec<Pid>) {
        let hosts = children(self.outside)
            .into_iter()
            .map(|host| tree(host).split_off(1));
        let mut hosts = (1..).zip(hosts);
        let building = hosts.find(|(_, host)| host.iter().any(|pid| builds(*pid, derivation)));
        building.expect("somebody builds it")
    }

    fn kill_builder(&self, derivation: &str) {
        let (_, host) = self.builder(derivation);
        end(&host);
    }

    /// Pulls the cable.
    fn cut_off(&self, derivation: &str) {
        let (number, _) = self.builder(derivation);
        let mut command = Command::new("nsenter");
        command.arg(self.namespace());
        command.args(["ip", "link", "set", &format!("to-{number}"), "down"]);
        assert!(command.status().unwrap().success());
    }

    /// The one from which both hosts can be reached, for nsenter.
    fn namespace(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.outside)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It also ends where this is killed: all of it is below a process that reads from there.
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

fn start(place: &Place, network: &Network, daemon: &Path, test: &str) -> Watched {
    let builder = |number: &str, store: &str| {
        format!(
            "ssh-ng://root@10.77.{number}.2?remote-program={}&remote-store={} x86_64-linux - 1 1 nixos-test",
            daemon.display(),
            place.path(store).display()
        )
    };
    let builders = format!("{} ; {}", builder("1", "one"), builder("2", "two"));
    let elsewhere = [
        "--option", "max-jobs", "0", "--option", "builders", &builders,
    ];
    let mut command = Command::new("nsenter");
    place.settle(&mut command);
    command
        .arg(network.namespace())
        .arg(env!("CARGO_BIN_EXE_attest"))
        .args(place.words(&[test], &["--format", "json"], &elsewhere))
        .env(
            "NIX_SSHOPTS",
            format!("-F {} {PATIENCE}", place.path("ssh").display()),
        );
    Watched::start(command)
}

/// Which host builds this: where it is killed, or where its cable is pulled.
#[derive(Clone, Copy)]
enum Loss {
    Killed,
    CutOff,
}

/// A suite of which all tests pass.
const GREEN: &str = "killed";
/// The same with a test that fails.
const RED: &str = "mixed";

/// A suite of which one shard is lost in its midst.
fn lose_one(place: &Place, daemon: &Path, loss: Loss, suite: &str) {
    let network = Network::new(place);
    let mut build = start(place, &network, daemon, suite);
    build.until_waiting("long");
    match loss {
        Loss::Killed => network.kill_builder("attest-shard-long"),
        Loss::CutOff => network.cut_off("attest-shard-long"),
    }
    build.until_lost("long");
    // Where nobody was killed, there are two at the gate.
    let gates = [place.open("long"), place.open("long")];
    let code = i32::from(suite == RED);
    assert_eq!(build.end(), Some(code), "{}", place.version);
    drop(gates);
    assert_eq!(
        place.outcomes("long"),
        ["no-output", "built"],
        "{}",
        place.version
    );
    let other = if suite == RED { "failing" } else { "short" };
    assert_eq!(place.outcomes(other), ["built"], "{}", place.version);
    let shard = place.shard("long");
    let builders = [0, 1].map(|number| {
        let builder = &shard["attempts"][number]["builder"];
        let host = builder.as_str().unwrap().split('?').next();
        host.unwrap().to_owned()
    });
    assert_ne!(builders[0], builders[1], "{}", place.version);
    for builder in builders {
        assert!(builder.starts_with("ssh-ng://root@10.77."), "{builder}");
    }
    assert_eq!(shard["verdict"], "passed");
}

/// Those that can have builders here.
fn places() -> Vec<(Place, PathBuf)> {
    if let Some(reason) = lacks() {
        eprintln!("skipped: {reason}");
        return Vec::new();
    }
    let places = Place::all()
        .into_iter()
        .filter_map(|place| match daemon(&place) {
            Ok(daemon) => Some((place, daemon)),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                None
            }
        });
    places.collect()
}

#[test]
fn what_a_host_was_killed_with_is_built_on_the_other() {
    for (place, daemon) in places() {
        lose_one(&place, &daemon, Loss::Killed, RED);
    }
}

#[test]
fn a_suite_that_lost_a_host_passes() {
    if let Some((place, daemon)) = places().pop() {
        lose_one(&place, &daemon, Loss::Killed, GREEN);
    }
}

/// ssh waits for a host that says nothing any more, until it is told for how long.
#[test]
fn what_a_host_was_cut_off_with_is_built_on_the_other() {
    if let Some((place, daemon)) = places().pop() {
        lose_one(&place, &daemon, Loss::CutOff, GREEN);
    }
}
