//! A start script's container that runs: its end, and what can be asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attest_lab::ProcessExit;
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, watch};

use super::LEFT_OPEN;
use crate::nspawn::REBOOTS;
use crate::output::Output;
use crate::qemu::console::Watch;
use crate::{BoxFuture, Ending, EndingKind, Launched, Pause, Reboots, Running, SIGKILL};

/// How long a script may take to remove what it made. NixOS's takes a tenth of a second.
const CLEANS_UP: Duration = Duration::from_secs(2);
/// Its number, the same on every Linux.
const SIGTERM: i32 = 15;

/// Where the agent was told which container to enter. It kills that when this is closed.
pub(super) type Control = Arc<Mutex<Option<pipe::Sender>>>;

/// What is known of a container that was just started.
pub(super) struct Parts {
    pub(super) process: Arc<dyn Launched>,
    /// The agent's way in.
    pub(super) entering: Arc<dyn Launched>,
    pub(super) control: Control,
    pub(super) console: Watch,
    pub(super) output: Output,
}

/// A start script's container.
#[derive(Debug)]
pub(super) struct Contained {
    process: Arc<dyn Launched>,
    control: Control,
    killed: Arc<AtomicBool>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Contained {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            process,
            entering,
            control,
            console,
            output,
        } = parts;
        let killed = Arc::new(AtomicBool::new(false));
        let (sender, ending) = watch::channel(None);
        let seen = (Arc::clone(&process), Arc::clone(&killed));
        tokio::spawn(async move {
            let (process, killed) = seen;
            let exit = process.exited().await;
            // It has nothing more to enter.
            entering.signal(SIGKILL);
            let rest = async {
                output.at_end().await;
                console.at_end().await;
            };
            let _ = tokio::time::timeout(LEFT_OPEN, rest).await;
            let killed = killed.load(Ordering::SeqCst);
            sender.send_replace(Some(judge(exit, killed, &output.last_words())));
        });
        Self {
            process,
            control,
            killed,
            ending,
        }
    }

    /// What the container's init is killed for ends by itself, and removes the cards and the network
    /// that it made; else it is asked, and at last ended, too.
    async fn end(&self) {
        drop(self.control.lock().await.take());
        let exited = || tokio::time::timeout(CLEANS_UP, self.process.exited());
        if exited().await.is_err() {
            self.process.signal(SIGTERM);
            if exited().await.is_err() {
                self.process.signal_group(SIGKILL);
            }
        }
        crate::running::known(&self.ending).await;
    }
}

fn judge(exit: ProcessExit, killed: bool, words: &str) -> Ending {
    let (kind, detail) = match exit {
        ProcessExit::LabEnded => (EndingKind::LabEnded, "the lab process ended".to_owned()),
        _ if killed => (EndingKind::Killed, "ended by attest".to_owned()),
        ProcessExit::Code(REBOOTS) => (
            EndingKind::Reset,
            "the container's init asked for a reboot".to_owned(),
        ),
        ProcessExit::Code(0) => (
            EndingKind::PoweredOff,
            "the container's init ended".to_owned(),
        ),
        ProcessExit::Code(code) => (
            EndingKind::VmmCrashed,
            format!("the start script ended with exit code {code}: {words}"),
        ),
        ProcessExit::Signal(signal) => (
            EndingKind::VmmCrashed,
            format!("the start script was ended by signal {signal}: {words}"),
        ),
    };
    Ending { kind, detail }
}

impl Running for Contained {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn ended(&self) -> BoxFuture<'_, Ending> {
        crate::running::known(&self.ending)
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.killed.store(true, Ordering::SeqCst);
        Box::pin(self.end())
    }

    fn reboots(&self) -> Reboots<'_> {
        Reboots::Anew
    }

    fn pause(&self) -> Option<&dyn Pause> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_own_name() {
        let kind = |exit, killed| judge(exit, killed, "words").kind;
        assert_eq!(kind(ProcessExit::LabEnded, true), EndingKind::LabEnded);
        assert_eq!(kind(ProcessExit::Signal(9), true), EndingKind::Killed);
        assert_eq!(kind(ProcessExit::Code(133), false), EndingKind::Reset);
        assert_eq!(kind(ProcessExit::Code(0), false), EndingKind::PoweredOff);
        assert_eq!(kind(ProcessExit::Code(1), false), EndingKind::VmmCrashed);
        let detail = judge(ProcessExit::Signal(9), false, "words").detail;
        assert_eq!(detail, "the start script was ended by signal 9: words");
    }
}
