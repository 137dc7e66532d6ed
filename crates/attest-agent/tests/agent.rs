//! The agent's program, driven natively over a socket pair: no virtual machine takes part.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use attest_protocol::link::{Channel, HostLink, HostPort, Incoming, Stream};
use attest_protocol::message::{
    Control, Endpoint, Exec, ExitStatus, Exited, FailureCode, Notice, Program, RawBytes, Request,
    Response, Stats,
};
use bytes::Bytes;
use tokio::net::UnixStream;

struct Agent {
    process: Child,
    _port: HostPort,
    link: HostLink,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn agent() -> Agent {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_attest-agent"))
        .args(["--socket-fd", "0"])
        .stdin(Stdio::from(OwnedFd::from(far)))
        .spawn()
        .unwrap();
    near.set_nonblocking(true).unwrap();
    let (reader, writer) = UnixStream::from_std(near).unwrap().into_split();
    let mut port = HostPort::new(reader, writer);
    let (link, hello) = port.accept().await.unwrap();
    assert!(!hello.is_init);
    Agent {
        process,
        _port: port,
        link,
    }
}

fn raw(text: impl AsRef<[u8]>) -> RawBytes {
    RawBytes::from(text.as_ref().to_vec())
}

fn exec(program: Program) -> Exec {
    Exec {
        program,
        environment: Vec::new(),
        directory: None,
        user: None,
        stdin: false,
        pty: None,
        timeout_ms: Some(60_000),
    }
}

fn shell(command: &str) -> Exec {
    exec(Program::Shell(raw(command)))
}

fn argv(words: &[&str]) -> Exec {
    exec(Program::Argv(words.iter().map(raw).collect()))
}

struct Ran {
    exited: Exited,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn finish(mut channel: Channel) -> Ran {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match channel.receiver.next().await.unwrap() {
            Incoming::Data(Stream::Err, bytes) => stderr.extend_from_slice(&bytes),
            Incoming::Data(_, bytes) => stdout.extend_from_slice(&bytes),
            Incoming::Finished(Ok(Response::Exited(exited))) => {
                return Ran {
                    exited,
                    stdout,
                    stderr,
                };
            }
            Incoming::Finished(other) => panic!("{other:?}"),
            _ => {}
        }
    }
}

impl Agent {
    async fn run(&self, exec: Exec) -> Ran {
        finish(self.link.open(&Request::Exec(exec)).unwrap()).await
    }

    async fn stats(&self) -> Stats {
        let mut channel = self.link.open(&Request::Stats).unwrap();
        match channel.receiver.next().await.unwrap() {
            Incoming::Finished(Ok(Response::Stats(stats))) => stats,
            other => panic!("{other:?}"),
        }
    }
}

fn code(code: i32) -> ExitStatus {
    ExitStatus::Code(code)
}

#[tokio::test]
async fn streams_are_apart_and_statuses_exact() {
    let agent = agent().await;
    let ran = agent.run(shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!(
        (ran.stdout.as_slice(), ran.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(ran.exited.status, code(7));
    let ran = agent.run(argv(&["sh", "-c", "kill -9 $$"])).await;
    assert_eq!(ran.exited.status, ExitStatus::Signal(9));
    let ran = agent.run(argv(&["printf", "\\377\\000"])).await;
    assert_eq!(ran.stdout, [255, 0]);
}

#[tokio::test]
async fn a_child_that_keeps_stdout_open_does_not_hang_the_caller() {
    let agent = agent().await;
    for exec in [
        shell("echo a; sleep 300 & echo b"),
        argv(&["sh", "-c", "echo a; sleep 300 & echo b"]),
    ] {
        let ran = agent.run(exec).await;
        assert_eq!(ran.stdout, b"a\nb\n");
        // One process, by the name of the shell if that has not become `sleep` yet.
        assert_eq!(ran.exited.holders.len(), 1, "{:?}", ran.exited.holders);
        let pid = ran.exited.holders[0].split(' ').next().unwrap().to_owned();
        agent.run(argv(&["kill", &pid])).await;
    }
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let agent = agent().await;
    let mut exec = argv(&[
        "sh",
        "-c",
        "trap '' TERM; (trap '' TERM; sleep 300) & echo $!; wait; sleep 300",
    ]);
    exec.timeout_ms = Some(200);
    let ran = agent.run(exec).await;
    assert!(ran.exited.timed_out);
    assert_eq!(ran.exited.status, ExitStatus::Signal(9));
    let child = String::from_utf8(ran.stdout).unwrap();
    // The group was killed: the child is gone, or a zombie of whoever inherited it.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let agent = agent().await;
    let mut channel = agent
        .link
        .open(&Request::Exec(argv(&["no-such-program"])))
        .unwrap();
    let Incoming::Finished(Err(failure)) = channel.receiver.next().await.unwrap() else {
        panic!("it ran")
    };
    assert_eq!(failure.code, FailureCode::NotFound);
    assert!(
        failure.message.contains("`no-such-program`"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn stdin_signals_and_terminals() {
    let agent = agent().await;
    let mut fed = argv(&["sh", "-c", "cat; echo end"]);
    fed.stdin = true;
    let channel = agent.link.open(&Request::Exec(fed)).unwrap();
    let feeder = channel.sender.clone();
    let feeding = async {
        let bytes = Bytes::from(vec![b'x'; 3_000_000]);
        feeder.data(Stream::In, bytes).await.unwrap();
        feeder.eof(Stream::In).unwrap();
    };
    // At once: what it writes must be read, or it stops reading.
    let (ran, ()) = tokio::join!(finish(channel), feeding);
    assert_eq!(ran.stdout.len(), 3_000_004);

    let channel = agent
        .link
        .open(&Request::Exec(argv(&["sleep", "300"])))
        .unwrap();
    channel.sender.control(&Control::Signal(15)).unwrap();
    assert_eq!(finish(channel).await.exited.status, ExitStatus::Signal(15));

    let mut terminal = argv(&["sh", "-c", "test -t 0 && stty size"]);
    terminal.pty = Some(attest_protocol::message::TerminalSize {
        rows: 30,
        columns: 100,
    });
    let ran = agent.run(terminal).await;
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "30 100");
}

#[tokio::test]
async fn thousands_of_commands_leave_nothing() {
    let agent = agent().await;
    agent.run(argv(&["true"])).await;
    let before = agent.stats().await;
    for _ in 0..10_000 / 64 {
        let all = (0..64).map(|_| agent.run(argv(&["true"])));
        for ran in futures_util::future::join_all(all).await {
            assert_eq!(ran.exited.status, code(0));
        }
    }
    let after = agent.stats().await;
    assert_eq!(after.agent_fds, before.agent_fds);
    assert_eq!(after.agent_tracked, 0);
}

#[tokio::test]
async fn a_gigabyte_of_output_passes_in_bounded_memory() {
    let agent = agent().await;
    let mut channel = agent
        .link
        .open(&Request::Exec(argv(&[
            "head",
            "-c",
            "1000000000",
            "/dev/zero",
        ])))
        .unwrap();
    let mut size = 0;
    loop {
        match channel.receiver.next().await.unwrap() {
            Incoming::Data(_, bytes) => size += bytes.len(),
            Incoming::Finished(_) => break,
            _ => {}
        }
    }
    assert_eq!(size, 1_000_000_000);
    assert!(agent.stats().await.agent_rss < 64 << 20);
}

#[tokio::test]
async fn cancelling_kills_the_command() {
    let agent = agent().await;
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let command = format!("exec 3<>{}; sleep 300", pipe.display());
    drop(
        agent
            .link
            .open(&Request::Exec(argv(&["sh", "-c", &command])))
            .unwrap(),
    );
    let wait = attest_protocol::message::Wait {
        condition: attest_protocol::message::Condition::ProcessVanished(pipe.display().to_string()),
        timeout_ms: 20_000,
    };
    let mut channel = agent.link.open(&Request::Wait(wait)).unwrap();
    assert!(matches!(
        channel.receiver.next().await.unwrap(),
        Incoming::Finished(Ok(Response::Met(None)))
    ));
}

/// What a command may observe of its shell, one line each.
const COMMANDS: &str = include_str!("commands.txt");

/// The same command by `bash -c`, as the agent promises it.
fn real_bash(command: &str) -> (Option<i32>, Vec<u8>, Vec<u8>) {
    use std::os::unix::process::ExitStatusExt;
    let output = Command::new("/bin/bash")
        .args(["-c", &format!("set -euo pipefail; {command}")])
        .env_clear()
        .envs([
            ("PATH", attest_agent::DEFAULT_PATH),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("SHELL", "/bin/sh"),
        ])
        .current_dir(if std::path::Path::new("/root").is_dir() {
            "/root"
        } else {
            "/"
        })
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let code = output
        .status
        .code()
        .or(output.status.signal().map(|signal| 128 + signal));
    (code, output.stdout, output.stderr)
}

type Seen = (Option<i32>, String, String);

/// Process numbers in bash's messages about signals are of no interest.
fn seen((code, stdout, stderr): (Option<i32>, Vec<u8>, Vec<u8>)) -> Seen {
    let stderr = String::from_utf8_lossy(&stderr);
    // `bash: line 1:   867 Killed`: the number has at least five places.
    let lines = stderr.split_inclusive('\n').map(|line| {
        let message = line
            .split_once(": line ")
            .and_then(|(_, rest)| rest.split_once(':'))
            .map_or("", |(_, message)| message);
        match message.trim_start().split_once(' ') {
            Some((number, _)) if number.parse::<u32>().is_ok() => {
                let padded = &message[..message.len() - message.trim_start().len()];
                line.replacen(&format!("{padded}{number}"), " PID", 1)
            }
            _ => line.to_owned(),
        }
    });
    (
        code,
        String::from_utf8_lossy(&stdout).into_owned(),
        lines.collect(),
    )
}

impl Agent {
    /// The command by the agent's shell and by a new bash.
    async fn both(&self, command: &str) -> (Seen, Seen) {
        // The first are started after a command that took one, and then only when the agent had a moment for it.
        if self.stats().await.agent_shells == 0 {
            self.run(shell("true; true")).await;
        }
        while self.stats().await.agent_shells == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ran = self.run(shell(command)).await;
        let code = match ran.exited.status {
            ExitStatus::Code(code) => Some(code),
            ExitStatus::Signal(_) => None,
        };
        (
            seen((code, ran.stdout, ran.stderr)),
            seen(real_bash(command)),
        )
    }
}

fn has_bash() -> bool {
    let has = std::path::Path::new("/bin/bash").exists();
    if !has {
        eprintln!("skipped: this host has no /bin/bash to compare with");
    }
    has
}

#[tokio::test]
async fn shells_started_ahead_cannot_be_told_from_bash() {
    if !has_bash() {
        return;
    }
    let agent = agent().await;
    let commands: Vec<String> = COMMANDS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.replace("\\n", "\n"))
        .collect();
    assert!(commands.len() >= 280, "only {}", commands.len());
    let mut different = Vec::new();
    for command in &commands {
        let (ours, theirs) = agent.both(command).await;
        if ours != theirs {
            different.push(format!("{command:?}\n  agent {ours:?}\n  bash  {theirs:?}"));
        }
    }
    let (count, all) = (different.len(), commands.len());
    assert!(
        different.is_empty(),
        "{count} of {all} differ:\n{}",
        different.join("\n")
    );
}

/// `bash -c` becomes its last program, as by `exec`; a shell that waited starts it as a child.
/// These are the ways to see that.
#[tokio::test]
async fn what_still_tells_a_shell_that_waited() {
    if !has_bash() {
        return;
    }
    let agent = agent().await;
    // It lives to tell how its last program died.
    let (ours, theirs) = agent.both("A=b sh -c 'kill -9 $$'").await;
    assert_eq!((ours.0, ours.1), (theirs.0, theirs.1));
    assert!(ours.2.contains("Killed") && theirs.2.is_empty());
    // It is the parent of its last program.
    let (ours, theirs) = agent
        .both("sh -c '[ $PPID = '$$' ] && echo child'; true")
        .await;
    assert_eq!(ours, theirs);
    let (ours, theirs) = agent.both("sh -c '[ $$ = '$$' ] && echo same'").await;
    assert_eq!((ours.1.as_str(), theirs.1.as_str()), ("", "same\n"));
    // Its own command line.
    let (ours, theirs) = agent.both("tr '\\0' ' ' < /proc/$$/cmdline; true").await;
    assert_ne!(ours.1, theirs.1);
    // A syntax error names `eval`.
    let (ours, theirs) = agent.both("if").await;
    assert_eq!(ours.0, theirs.0);
    assert!(ours.2.contains("eval: ") && !theirs.2.contains("eval: "));
}

#[tokio::test]
async fn what_needs_no_shell_cannot_be_told_from_what_had_one() {
    if !has_bash() {
        return;
    }
    let agent = agent().await;
    for command in [
        "cat /proc/self/cmdline",
        "ls -d 'a b' \"c d\" ''",
        "sh -c 'kill -9 $$'",
        "sh -c 'exit 7'",
        "/bin/ls --no-such-option",
        "no-such-program --at-all",
        "/etc/passwd",
        "uname  -s\t-m",
    ] {
        let (ours, theirs) = agent.both(command).await;
        assert_eq!(ours, theirs, "{command}");
    }
    let (ours, theirs) = agent.both("env").await;
    let sorted = |environment: &str| {
        let mut lines: Vec<String> = environment.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ours.1), sorted(&theirs.1));
}

#[tokio::test]
async fn a_connection_that_is_reset_ends_its_request() {
    let agent = agent().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("service");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let endpoint = Endpoint::Unix(raw(path.as_os_str().as_encoded_bytes()));
    let mut channel = agent.link.open(&Request::Connect(endpoint)).unwrap();
    let (mut service, _) = listener.accept().await.unwrap();
    let connected = channel.receiver.next().await.unwrap();
    assert!(
        matches!(connected, Incoming::Notice(Notice::Connected)),
        "{connected:?}"
    );
    let unread = Bytes::from_static(b"only the first byte is read");
    channel.sender.data(Stream::In, unread).await.unwrap();
    tokio::io::AsyncReadExt::read_u8(&mut service)
        .await
        .unwrap();
    // What is closed with something unread in it is reset (unix(7) and tcp(7) alike).
    drop(service);
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        while !matches!(
            channel.receiver.next().await.unwrap(),
            Incoming::Finished(_)
        ) {}
    });
    ended
        .await
        .expect("the request ends, though this side has not");
}
