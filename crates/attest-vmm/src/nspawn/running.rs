//! A container that runs: its end, and what can be asked of it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attest_lab::ProcessExit;
use tokio::sync::watch;

use crate::output::Output;
use crate::{BoxFuture, Ending, EndingKind, Launched, Pause, Reboots, Running};

/// With this, systemd-nspawn asks to be started again (its `EXIT_FORCE_RESTART`): its container
/// asked for a reboot.
pub(crate) const REBOOTS: i32 = 133;

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    process: Arc<dyn Launched>,
    killed: Arc<AtomicBool>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Container {
    /// Follow the process whose stderr this is.
    pub(super) fn follow(
        process: Arc<dyn Launched>,
        words: OwnedFd,
        log: Option<PathBuf>,
    ) -> io::Result<Self> {
        let killed = Arc::new(AtomicBool::new(false));
        let output = Output::follow(words, log, Box::new(|_| {}))?;
        let (sender, ending) = watch::channel(None);
        let seen = (Arc::clone(&process), Arc::clone(&killed));
        tokio::spawn(async move {
            let (process, killed) = seen;
            let exit = process.exited().await;
            output.at_end().await;
            let killed = killed.load(Ordering::SeqCst);
            let ending = judge(exit, killed, &output.last_words());
            sender.send_replace(Some(ending));
        });
        Ok(Self {
            process,
            killed,
            ending,
        })
    }
}

fn judge(exit: ProcessExit, killed: bool, words: &str) -> Ending {
    let ending = |kind, detail: String| Ending { kind, detail };
    match exit {
        ProcessExit::LabEnded => ending(EndingKind::LabEnded, "the lab process ended".to_owned()),
        _ if killed => ending(EndingKind::Killed, "as asked".to_owned()),
        ProcessExit::Code(REBOOTS) => ending(
            EndingKind::Reset,
            "the container's init asked for a reboot".to_owned(),
        ),
        ProcessExit::Code(0) => ending(
            EndingKind::PoweredOff,
            "the container's init ended".to_owned(),
        ),
        ProcessExit::Code(code) => ending(
            EndingKind::VmmCrashed,
            format!("systemd-nspawn ended with exit code {code}: {words}"),
        ),
        ProcessExit::Signal(signal) => ending(
            EndingKind::VmmCrashed,
            format!("systemd-nspawn was ended by signal {signal}: {words}"),
        ),
    }
}

impl Running for Container {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn ended(&self) -> BoxFuture<'_, Ending> {
        crate::running::known(&self.ending)
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        crate::running::kill(&*self.process, &self.killed)
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
        let signal = ProcessExit::Signal(9);
        assert_eq!(kind(signal, true), EndingKind::Killed);
        assert_eq!(kind(ProcessExit::Code(133), false), EndingKind::Reset);
        assert_eq!(kind(signal, false), EndingKind::VmmCrashed);
        assert_eq!(kind(ProcessExit::Code(0), false), EndingKind::PoweredOff);
        assert_eq!(kind(ProcessExit::Code(1), false), EndingKind::VmmCrashed);
        assert_eq!(kind(ProcessExit::LabEnded, true), EndingKind::LabEnded);
        let detail = judge(ProcessExit::Code(3), false, "words").detail;
        assert_eq!(detail, "systemd-nspawn ended with exit code 3: words");
    }
}
