//! Who waits for all children: PID 1 inherits everybody's orphans, so one place reaps them all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use attest_protocol::message::ExitStatus;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

type Waiting = Rc<RefCell<HashMap<i32, oneshot::Sender<ExitStatus>>>>;

/// Reaps children and tells those who wait for one.
#[derive(Debug)]
pub(crate) struct Reaper {
    waiting: Waiting,
    _task: JoinHandle<()>,
}

impl Reaper {
    pub(crate) fn start() -> io::Result<Self> {
        let waiting = Waiting::default();
        let mut deaths = signal(SignalKind::child())?;
        let telling = Rc::clone(&waiting);
        let task = spawn_local(async move {
            while deaths.recv().await.is_some() {
                reap(&telling);
            }
        });
        Ok(Self {
            waiting,
            _task: task,
        })
    }

    /// The end of a child that was spawned since the last await: it cannot have been reaped yet.
    pub(crate) fn watch(&self, pid: u32) -> oneshot::Receiver<ExitStatus> {
        let (sender, receiver) = oneshot::channel();
        let pid = i32::try_from(pid).expect("process numbers are small");
        self.waiting.borrow_mut().insert(pid, sender);
        receiver
    }

    /// Children that somebody waits for.
    pub(crate) fn count(&self) -> u64 {
        self.waiting.borrow().len() as u64
    }
}

fn reap(waiting: &Waiting) {
    loop {
        let (pid, status) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, ExitStatus::Signal(signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(_) | Err(_) => continue,
        };
        let told = waiting.borrow_mut().remove(&pid.as_raw());
        if let Some(told) = told {
            let _ = told.send(status);
        }
    }
}
