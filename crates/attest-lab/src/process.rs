//! A program inside a lab, seen from the driver.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use tokio::sync::watch;

use crate::wire::Ended;

/// A program that runs, or ran, inside the lab. Dropping it leaves the program alone.
#[derive(Debug)]
pub struct Process {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) exit: watch::Receiver<Option<ProcessExit>>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessExit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The lab process itself is gone, and the program with it.
    LabEnded,
}

impl Process {
    /// Its number outside the lab, for messages and for fault injection.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Wait for its end. May be called any number of times, also afterwards.
    pub async fn exited(&self) -> ProcessExit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        // The sender goes without a word only together with the lab.
        ended
            .ok()
            .and_then(|exit| *exit)
            .unwrap_or(ProcessExit::LabEnded)
    }

    /// Send a signal (not a real-time one); nothing happens when it has ended. It goes through a
    /// pidfd, so it never meets another process that took the number.
    pub fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Send a signal to its process group, which it leads: to what it started, too, and nobody has
    /// taken out. Nothing happens when it has ended.
    pub fn signal_group(&self, signal: i32) {
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // While it is not known to have ended, the number is its own: it is reaped before that.
        if let (None, Some(group), Some(signal)) =
            (*self.exit.borrow(), group, Signal::from_named_raw(signal))
        {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl From<Ended> for ProcessExit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Code(code) => Self::Code(code),
            Ended::Signal(signal) => Self::Signal(signal),
        }
    }
}
