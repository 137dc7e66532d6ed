//! A guest that does what it is told, on the console, over vsock, and to its machine.

use std::ops::ControlFlow;

use attest_protocol::link::{AgentLink, AgentPort, Channel, Sender, Stream};
use attest_protocol::message::{
    ExitStatus, Exited, Failure, FailureCode, Hello, Notice, Program, Request, Response, Stats,
};
use attest_protocol::{GENERATION, VSOCK_PORT};
use bytes::Bytes;

use super::board::{Board, GuestEnd};

/// Where its kernel is, and what a program of its wrote.
const KERNEL_PAGE: usize = 0;
const PROGRAMS_PAGE: usize = 300;
const KERNEL: &[u8] = b"the kernel";
/// A port on which a program of the guest listens, and what that says first.
pub(crate) const GREETER: u32 = 7;
pub(crate) const GREETING: &[u8] = b"hello from the guest";

/// What a guest does by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// What it does as soon as it has booted: see [`does`].
    pub(crate) first: Vec<&'static str>,
    /// It has no agent, or none that works.
    pub(crate) is_silent: bool,
}

/// From its first instruction.
pub(crate) async fn boot(board: Board, script: Script) {
    board.runs().await;
    board.memory.lock().unwrap().write(KERNEL_PAGE, KERNEL);
    for command in &script.first {
        let _ = does(&board, command).await;
    }
    if let Some(timer) = argument(&board.command_line, "attest.boot-timer") {
        let address = timer.strip_prefix("0x").unwrap_or(timer);
        (board.booted)(u64::from_str_radix(address, 16).unwrap());
    }
    live(board, script, false).await;
}

/// From what is in its memory. Fact: a later Diff loaded without rebase is not rejected: the guest dies and the exit code
/// is 0.
pub(crate) async fn go_on(board: Board, script: Script) {
    board.runs().await;
    if board.memory.lock().unwrap().read(KERNEL_PAGE) != KERNEL {
        board.end(GuestEnd::Breaks(0)).await;
    }
    let waits = board.is_called;
    live(board, script, waits).await;
}

/// `waits`: until the agent is called.
async fn live(board: Board, script: Script, waits: bool) {
    let Some(vsock) = board.vsock.clone() else {
        return std::future::pending().await;
    };
    if script.is_silent {
        return std::future::pending().await;
    }
    vsock.driver_is_up();
    let mut visits = vsock.listen(GREETER, GREETING);
    let greeter = async { while visits.recv().await.is_some() {} };
    let mut calls = vsock.listen(VSOCK_PORT, b"");
    let agent = async {
        let mut resets = vsock.resets();
        for nonce in 1.. {
            board.runs().await;
            resets.mark_unchanged();
            let connected = if waits && nonce == 1 {
                calls.recv().await
            } else {
                vsock.connect(VSOCK_PORT).await.ok()
            };
            // A host that does not listen is one that does not want it.
            let Some(stream) = connected else {
                break;
            };
            // Not into halves that tell the other side of their end.
            let (reader, writer) = tokio::io::split(stream);
            let mut port = AgentPort::new(reader, writer);
            tokio::select! {
                () = session(&board, &mut port, nonce) => {}
                // A connection that has died is none of the guest's any more.
                Ok(()) = resets.changed() => {}
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::join!(greeter, agent, board.echo());
}

async fn session(board: &Board, port: &mut AgentPort, nonce: u64) {
    let hello = Hello {
        generation: GENERATION,
        nonce,
        version: "fake".to_owned(),
        boot_id: "fake".to_owned(),
        uptime_ns: 1,
        is_init: true,
        waits: false,
    };
    let Ok(mut link) = port.connect(hello).await else {
        return;
    };
    serve(board, &mut link).await;
}

async fn serve(board: &Board, link: &mut AgentLink) {
    while let Ok((request, channel)) = link.next().await {
        board.runs().await;
        let answer = match request {
            Request::Exec(exec) => match exec.program {
                Program::Argv(_) => unsupported("argv"),
                Program::Shell(command) => {
                    let command = String::from_utf8(command.into()).unwrap();
                    match exec_shell(board, &channel, &command).await {
                        ControlFlow::Continue(answer) => answer,
                        ControlFlow::Break(()) => return,
                    }
                }
            },
            Request::Setup(_) | Request::SetClock(_) | Request::Reseed(_) | Request::Sync => {
                Ok(Response::Done)
            }
            Request::Quiesce => Ok(Response::Quiesced(Vec::new())),
            Request::Identity => Ok(Response::Identity("0".repeat(32))),
            Request::Stats => Ok(Response::Stats(Stats::default())),
            Request::PowerOff | Request::Reboot => {
                let off = matches!(request, Request::PowerOff);
                // It ends before it could be told that nobody hears it.
                let _ = channel.sender.finish(&Ok(Response::Done));
                let _ = does(board, if off { "off" } else { "reboot" }).await;
                return;
            }
            other => unsupported(other.name()),
        };
        let _ = channel.sender.finish(&answer);
    }
}

fn unsupported(what: &str) -> Result<Response, Failure> {
    Err(Failure {
        code: FailureCode::Unsupported,
        message: format!("the fake guest has no {what}"),
        last_seen: None,
    })
}

async fn exec_shell(
    board: &Board,
    channel: &Channel,
    command: &str,
) -> ControlFlow<(), Result<Response, Failure>> {
    let sender: &Sender = &channel.sender;
    let _ = sender.notice(&Notice::Started(2));
    let (code, output) = match does(board, command).await {
        Some(output) => (0, output),
        None => (127, Vec::new()),
    };
    if command == "reset-vsock" {
        return ControlFlow::Break(());
    }
    let _ = sender.data(Stream::Out, Bytes::from(output)).await;
    let _ = (sender.eof(Stream::Out), sender.eof(Stream::Err));
    ControlFlow::Continue(Ok(Response::Exited(Exited {
        status: ExitStatus::Code(code),
        timed_out: false,
        holders: Vec::new(),
        duration_ns: 1,
    })))
}

/// What a command does, and prints; `None` when there is no such.
async fn does(board: &Board, command: &str) -> Option<Vec<u8>> {
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    let nothing = Some(Vec::new());
    match name {
        "echo" => Some(rest.as_bytes().to_vec()),
        "write" => {
            let mut memory = board.memory.lock().unwrap();
            memory.write(PROGRAMS_PAGE, rest.as_bytes());
            nothing
        }
        "read" => Some(board.memory.lock().unwrap().read(PROGRAMS_PAGE).to_vec()),
        "print" => {
            board.serial.print(format!("{rest}\n").as_bytes());
            nothing
        }
        // This many bytes, and others run meanwhile.
        "flood" => {
            let mut left: usize = rest.parse().unwrap();
            while left > 0 {
                let piece = left.min(256);
                board.serial.print(&vec![b'f'; piece]);
                left -= piece;
                tokio::task::yield_now().await;
            }
            nothing
        }
        // This many bytes, faster than anybody can read.
        "torrent" => {
            board.serial.print(&vec![b't'; rest.parse().unwrap()]);
            nothing
        }
        "off" => {
            board.serial.print(b"[    9.1] reboot: Power down\n");
            board.end(GuestEnd::Off).await
        }
        // Without a word.
        "off-silently" => board.end(GuestEnd::Off).await,
        "triple-fault" => board.end(GuestEnd::Reset).await,
        "reboot" => {
            board.serial.print(b"[    9.1] reboot: Restarting system\n");
            board.end(GuestEnd::Reset).await
        }
        "panic" => {
            let text = format!("[    9.1] Kernel panic - not syncing: {rest}\n");
            board.serial.print(text.as_bytes());
            board.end(GuestEnd::Reset).await
        }
        "exit" => board.end(GuestEnd::Breaks(rest.parse().unwrap())).await,
        "reset-vsock" => {
            if let Some(vsock) = &board.vsock {
                vsock.reset_by_guest();
            }
            nothing
        }
        "hang" => std::future::pending().await,
        _ => None,
    }
}

fn argument<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = command_line.split(' ');
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}
