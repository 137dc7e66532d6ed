//! The agent as a root shell starts it, after it was pushed into the guest.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use attest_protocol::link::{HostLink, HostPort, Incoming, Stream};
use attest_protocol::message::{Exec, Program, RawBytes, Request};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use tokio::net::UnixStream;

async fn run(link: &HostLink, command: &str) -> String {
    let exec = Exec {
        program: Program::Shell(RawBytes::from(command.as_bytes().to_vec())),
        environment: Vec::new(),
        directory: None,
        user: None,
        stdin: false,
        pty: None,
        timeout_ms: Some(60_000),
    };
    let mut channel = link.open(&Request::Exec(exec)).unwrap();
    let mut output = Vec::new();
    loop {
        match channel.receiver.next().await.unwrap() {
            Incoming::Data(Stream::Out, bytes) => output.extend_from_slice(&bytes),
            Incoming::Finished(result) => {
                result.unwrap();
                return String::from_utf8(output).unwrap();
            }
            _ => {}
        }
    }
}

/// Carry bytes between a device and a socket, as QEMU does for a port.
fn join(device: OwnedFd) -> UnixStream {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let (mut from, mut to) = (File::from(device), far);
    let (mut back_to, mut back_from) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
    near.set_nonblocking(true).unwrap();
    UnixStream::from_std(near).unwrap()
}

#[tokio::test]
async fn commands_have_what_the_shell_had() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("agent");
    std::fs::copy(env!("CARGO_BIN_EXE_attest-agent"), &program).unwrap();
    let pty = openpty(None, None).unwrap();
    let mut modes = tcgetattr(&pty.slave).unwrap();
    cfmakeraw(&mut modes);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &modes).unwrap();
    let device = nix::unistd::ttyname(&pty.slave).unwrap();
    let socket = join(pty.master);
    // Its shell ends at once, and ends what is of its session.
    let script = format!(
        "cd /usr; export ONLY=here; {} --port {} </dev/null >/dev/null 2>&1 & echo $!",
        program.display(),
        device.display()
    );
    let started = Command::new("bash")
        .args(["-c", &script])
        .env("HOME", "/tmp")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let pid: i32 = String::from_utf8(started.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let (reader, writer) = socket.into_split();
    let mut port = HostPort::new(reader, writer);
    let (link, hello) = port.accept().await.unwrap();
    assert!(!hello.is_init && !hello.waits);
    assert!(!program.exists(), "its file is gone once it runs");
    assert_eq!(
        run(&link, "echo $ONLY $HOME; pwd").await,
        "here /tmp\n/usr\n"
    );
    // An interrupt ends a program, though the shell let its background ignore it.
    let interrupted = "sh -c 'kill -INT $$; echo alive' || echo $?";
    assert_eq!(run(&link, interrupted).await, "130\n");
    assert_eq!(
        run(&link, "ps -o sid= -p $PPID | tr -d ' '").await,
        format!("{pid}\n")
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}
