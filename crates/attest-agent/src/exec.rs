//! Running programs: streams apart, time-outs and signals to the whole process group, and an end
//! that comes with the program's own, whoever still holds its pipes.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use attest_protocol::link::{Channel, Sender, Stream};
use attest_protocol::message::{
    CommandSeen, Control, Exec, ExitStatus, Exited, Failure, FailureCode, MAX_SEEN, Notice,
    Program, RawBytes, Response,
};
use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant as Deadline, sleep_until};

use crate::failure::failure;
use crate::mailbox::{Mailbox, Order};
use crate::pipes::PipeReader;
use crate::session::Agent;
use crate::shells::Shells;
use crate::spawn::{self, Input, Spawned};

/// Between SIGTERM and SIGKILL when the time is out.
const TERM_GRACE: Duration = Duration::from_secs(1);

/// A program that runs. Dropping it kills its process group.
pub(crate) struct Running {
    group: Pid,
    pub(crate) spawned: Spawned,
    exit: Option<oneshot::Receiver<ExitStatus>>,
}

impl Running {
    /// Take over a child that was spawned since the last await.
    pub(crate) fn adopt(agent: &Agent, spawned: Spawned) -> Self {
        let exit = agent.reaper.watch(spawned.pid);
        let group = Pid::from_raw(i32::try_from(spawned.pid).expect("process numbers are small"));
        Self {
            group,
            spawned,
            exit: Some(exit),
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        let exit = self.exit.as_mut();
        exit.is_some_and(|exit| matches!(exit.try_recv(), Err(oneshot::error::TryRecvError::Empty)))
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = killpg(self.group, signal);
    }

    pub(crate) fn take_stdin(&mut self) -> Option<Input> {
        self.spawned.stdin.take()
    }

    async fn exited(&mut self) -> ExitStatus {
        let Some(exit) = self.exit.as_mut() else {
            return ExitStatus::Signal(Signal::SIGKILL as i32);
        };
        let status = exit.await;
        self.exit = None;
        // The reaper lives as long as the agent.
        status.unwrap_or(ExitStatus::Signal(Signal::SIGKILL as i32))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.exit.is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// Start it: without a shell, or from one that waits for its command, where that cannot be observed.
fn start(agent: &Rc<Agent>, exec: &Exec) -> Result<Running, Failure> {
    if let Some(spawned) = spawn::without_shell(agent, exec) {
        return Ok(Running::adopt(agent, spawned));
    }
    match Shells::take(agent, exec) {
        Some(running) => Ok(running),
        None => spawn::spawn(agent, exec).map(|spawned| Running::adopt(agent, spawned)),
    }
}

pub(crate) async fn serve(
    agent: &Rc<Agent>,
    exec: &Exec,
    channel: Channel,
) -> Result<Response, Failure> {
    let Channel { sender, receiver } = channel;
    let began = Instant::now();
    let mut running = start(agent, exec)?;
    let _ = sender.notice(&Notice::Started(running.spawned.pid));
    let mailbox = Mailbox::new(receiver, running.take_stdin());
    let (stdout, stderr) = (running.spawned.stdout.take(), running.spawned.stderr.take());
    let (exited, told) = watch::channel(false);
    let out = pump(stdout, told.clone(), |bytes| {
        send(&sender, Stream::Out, bytes)
    });
    let err = pump(stderr, told, |bytes| send(&sender, Stream::Err, bytes));
    let ending = async {
        let ending = until_end(&mut running, exec, mailbox).await;
        exited.send_replace(true);
        (ending, began.elapsed())
    };
    let ((ending, duration), mut holders, more) = tokio::join!(ending, out, err);
    Shells::refill_soon(agent);
    let (status, timed_out) = ending?;
    holders.extend(more);
    holders.sort();
    // One that holds both was looked at twice, and may have become another program between.
    holders.dedup_by(|one, other| one.split(' ').next() == other.split(' ').next());
    let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Ok(Response::Exited(Exited {
        status: as_shell(exec, status),
        timed_out,
        holders,
        duration_ns,
    }))
}

async fn send(sender: &Sender, stream: Stream, bytes: Bytes) {
    // A host that is gone has its cancellation on the way.
    let _ = sender.data(stream, bytes).await;
}

/// A shell program that a signal ended has a code, as `$?` has it.
fn as_shell(exec: &Exec, status: ExitStatus) -> ExitStatus {
    match (&exec.program, status) {
        (Program::Shell(_), ExitStatus::Signal(signal)) => ExitStatus::Code(128 + signal),
        _ => status,
    }
}

async fn until_end(
    running: &mut Running,
    exec: &Exec,
    mut mailbox: Mailbox,
) -> Result<(ExitStatus, bool), Failure> {
    let mut deadline = exec
        .timeout_ms
        .and_then(|ms| Deadline::now().checked_add(Duration::from_millis(ms)));
    let mut timed_out = false;
    loop {
        tokio::select! {
            biased;
            status = running.exited() => return Ok((status, timed_out)),
            () = at(deadline) => {
                running.signal(if timed_out { Signal::SIGKILL } else { Signal::SIGTERM });
                deadline = if timed_out { None } else { Some(Deadline::now() + TERM_GRACE) };
                timed_out = true;
            }
            order = mailbox.next() => match order {
                Order::Cancel => {
                    running.signal(Signal::SIGKILL);
                    return Err(failure(FailureCode::Cancelled, "cancelled by the host"));
                }
                Order::Control(Control::Signal(number)) => {
                    if let Ok(signal) = Signal::try_from(number) {
                        running.signal(signal);
                    }
                }
                Order::Control(Control::Resize(size)) => {
                    if let Some(terminal) = &running.spawned.terminal {
                        spawn::resize(terminal, size);
                    }
                }
            },
        }
    }
}

async fn at(deadline: Option<Deadline>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Carry one output until its end, or until the program has ended and what it left is carried.
/// Gives who still holds it then.
async fn pump<F: Future<Output = ()>>(
    reader: Option<PipeReader>,
    mut exited: watch::Receiver<bool>,
    mut sink: impl FnMut(Bytes) -> F,
) -> Vec<String> {
    let Some(reader) = reader else {
        return Vec::new();
    };
    loop {
        tokio::select! {
            biased;
            bytes = reader.read() => match bytes {
                Ok(Some(bytes)) => sink(bytes).await,
                Ok(None) | Err(_) => return Vec::new(),
            },
            _ = exited.wait_for(|exited| *exited) => break,
        }
    }
    while let Ok(bytes) = reader.read_now() {
        match bytes {
            Some(bytes) => sink(bytes).await,
            None => return Vec::new(),
        }
    }
    reader.holders()
}

/// Run a command to its end, keeping the end of its output. Dropping the future kills it.
pub(crate) async fn run_captured(agent: &Rc<Agent>, exec: &Exec) -> Result<CommandSeen, Failure> {
    let mut running = start(agent, exec)?;
    drop(running.take_stdin());
    let (stdout, stderr) = (running.spawned.stdout.take(), running.spawned.stderr.take());
    let (exited, told) = watch::channel(false);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let out_pump = pump(stdout, told.clone(), |bytes| {
        keep_end(&mut out, &bytes);
        std::future::ready(())
    });
    let err_pump = pump(stderr, told, |bytes| {
        keep_end(&mut err, &bytes);
        std::future::ready(())
    });
    let ending = async {
        let deadline = exec
            .timeout_ms
            .and_then(|ms| Deadline::now().checked_add(Duration::from_millis(ms)));
        let status = tokio::select! {
            status = running.exited() => status,
            () = at(deadline) => {
                running.signal(Signal::SIGKILL);
                running.exited().await
            }
        };
        exited.send_replace(true);
        status
    };
    let (status, _, _) = tokio::join!(ending, out_pump, err_pump);
    Shells::refill_soon(agent);
    Ok(CommandSeen {
        status: as_shell(exec, status),
        stdout: RawBytes::from(out),
        stderr: RawBytes::from(err),
        tries: 1,
    })
}

fn keep_end(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(bytes);
    if kept.len() > MAX_SEEN {
        let excess = kept.len() - MAX_SEEN;
        kept.drain(..excess);
    }
}
