//! What these tests share: a place of their own, and a program that is started there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Far more than anything here takes, so that a hang fails with a message of ours.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Two machines that meet on a network, one of them with a disk; both tests are on one lab.
pub(crate) const PAIR: &str = r#"
isolation = "shared"
[networks.lan]
[machines.a]
disks = [{ size = "8M" }]
[machines.b]

[tests.first]
steps = [{ on = "a", run = "ping -c1 -W5 b" }]

[tests.second]
steps = [{ on = ["a", "b"], run = "echo both" }]
"#;

/// A directory with a manifest, where nothing else is.
pub(crate) struct Place {
    directory: TempDir,
    /// Of its own, so that what other tests left decides nothing, and nothing is left.
    snapshots: TempDir,
    /// As `$ATTEST_SNAPSHOTS` says it.
    pub(crate) snapshot_use: &'static str,
}

/// What the directories of snapshots of tests begin with.
const SNAPSHOTS: &str = "attest-tests-";

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new(manifest: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("attest.toml"), manifest).unwrap();
        for name in ["tmp", "run"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let own = tempfile::Builder::new()
            .prefix(SNAPSHOTS)
            .tempdir_in("/dev/shm");
        let snapshots = own.or_else(|_| TempDir::new()).unwrap();
        Self {
            directory,
            snapshots,
            snapshot_use: "auto",
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where its runs keep snapshots.
    pub(crate) fn snapshots(&self) -> &Path {
        self.snapshots.path()
    }

    /// The program, to be started here.
    pub(crate) fn attest(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
        command.args(arguments);
        self.settle(&mut command);
        command
    }

    /// Let a command live here, and nowhere else.
    pub(crate) fn settle(&self, command: &mut Command) {
        command
            .current_dir(self.directory.path())
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("ATTEST_SNAPSHOTS_DIR", self.snapshots())
            .env("ATTEST_SNAPSHOTS", self.snapshot_use)
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .stdin(Stdio::null());
    }

    /// Run the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(&mut self.attest(arguments))
    }

    /// Whether this host can do something, as `attest doctor` names it; else why not.
    pub(crate) fn can(&self, what: &str) -> Result<(), String> {
        let said = self.run(&["doctor", "--format", "json"]).stdout;
        let findings = said.lines().map(|line| serde_json::from_str(line).unwrap());
        let found = findings
            .into_iter()
            .find(|finding: &serde_json::Value| finding["what"] == what);
        let found = found.expect("the doctor looks at it");
        if found["works"] == true {
            Ok(())
        } else {
            Err(found["detail"].to_string())
        }
    }

    /// The text of a file below the output directory `out`.
    pub(crate) fn output(&self, name: &str) -> String {
        let path = self.path("out").join(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8(bytes).unwrap()
    }
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Control groups of labs of this driver.
pub(crate) fn groups_of(driver: u32) -> Vec<PathBuf> {
    let own = format!("attest-{driver}-");
    let mut left = vec![PathBuf::from("/sys/fs/cgroup")];
    let mut found = Vec::new();
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if entry.file_name().to_string_lossy().starts_with(&own) {
                found.push(entry.path());
            } else if is_directory {
                left.push(entry.path());
            }
        }
    }
    found
}

/// A run that is watched through its event stream.
pub(crate) struct Watched {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The events so far, consoles' lines left out: how many there are differs.
    pub(crate) events: Vec<serde_json::Value>,
}

impl Watched {
    pub(crate) fn start(place: &Place) -> Self {
        Self::with(place, &["--output", "out"])
    }

    /// A run with these arguments.
    pub(crate) fn with(place: &Place, arguments: &[&str]) -> Self {
        let mut child = place
            .attest(&[&["run", "--format", "json"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            events: Vec::new(),
        }
    }

    /// The next event's name; none at the end.
    pub(crate) fn next(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.unwrap();
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            let name = event["event"].as_str().unwrap().to_owned();
            if name != "console" {
                self.events.push(event);
                return Some(name);
            }
        }
    }

    /// Read on until this event.
    pub(crate) fn until(&mut self, name: &str) {
        while let Some(next) = self.next() {
            if next == name {
                return;
            }
        }
        panic!("no {name} in {:?}", self.events);
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Whether the driver has ended; its exit code stays to be asked for.
    pub(crate) fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.pid()), flags).unwrap() != WaitStatus::StillAlive
    }

    /// The driver, its lab's outer process, the lab's PID 1, or a VMM: the `depth`th of them.
    pub(crate) fn process(&self, depth: usize) -> Option<Pid> {
        (0..depth).try_fold(self.pid(), |parent, _| children(parent).into_iter().next())
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let mut pids: Vec<Pid> = lists
        .flat_map(|list| {
            let words = list.split_whitespace().map(str::to_owned);
            words.collect::<Vec<_>>()
        })
        .filter_map(|word| word.parse().ok().map(Pid::from_raw))
        .collect();
    pids.sort();
    pids
}

pub(crate) fn signal(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        // What has ended by itself is not to be killed.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{signal} to {pid}: {error}"),
    }
}

/// Become the parent of whatever loses its own, so that nothing gets out of sight.
pub(crate) fn adopt() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
}

/// Wait until no process is left of those that this one has started or adopted; gives the exit
/// code of `child` when it had one.
pub(crate) fn all_ended(child: Pid) -> Option<i32> {
    let deadline = Instant::now() + LONG;
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return code,
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            // Nobody says when the last of several children has ended: it is looked for.
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
            Ok(_) => {}
            Err(error) => panic!("waitpid: {error}"),
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {:?}",
            children(Pid::this())
        );
    }
}

/// Where the other tests have their kernel from.
pub(crate) fn cache_of_the_others() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    set("ATTEST_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("attest")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/attest")))
        .expect("a cache")
}

/// What a run could leave on the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    interfaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
    sockets: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl Traces {
    pub(crate) fn now(place: &Place) -> Self {
        let names = |path: &Path| -> BTreeSet<PathBuf> {
            let entries = fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let lines = |path: &str, keep: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
            let text = fs::read_to_string(path).unwrap();
            let kept = text.lines().filter(|line| keep(line));
            kept.map(str::to_owned).collect()
        };
        let own = place.path("").to_string_lossy().into_owned();
        let interfaces = names(Path::new("/sys/class/net"));
        let mut shared_memory = names(Path::new("/dev/shm"));
        // Other programs have files there, and other tests their snapshots; those of the user stay.
        let users = format!("attest-{}", nix::unistd::geteuid());
        shared_memory.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_ours = ["attest", "qemu"].iter().any(|part| name.contains(part));
            is_ours && !name.starts_with(SNAPSHOTS) && *name != *users
        });
        let files = names(&place.path("tmp")).into_iter();
        Self {
            interfaces: interfaces
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            mounts: lines("/proc/self/mountinfo", &|_| true),
            // Other programs have sockets, too; so have the start scripts of tests beside this one.
            sockets: lines("/proc/net/unix", &|line| {
                line.contains(&own) || (line.contains("attest") && !line.contains("/vm-state-"))
            }),
            files: files
                .chain(names(&place.path("run")))
                .chain(shared_memory)
                .collect(),
        }
    }
}
