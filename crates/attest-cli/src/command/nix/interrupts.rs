//! Ctrl-C while a child works: it gets the signal once, and its end is waited for.

use std::io;
use std::process::ExitStatus;

use attest::events::ExitCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::watch;

use crate::failure::Failure;
use crate::signals::{Caught, Signals};
use crate::{orphans, terminal};

/// Whether somebody wants all this to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupts(watch::Receiver<Option<Caught>>);

impl Interrupts {
    /// Catch signals from now on. The first is answered with what follows from it; the second ends this process, and all
    /// that it started.
    pub(super) fn watch(what_follows: &'static str) -> Result<Self, Failure> {
        let mut signals = Signals::watch()
            .map_err(|error| Failure::infrastructure(format!("error: no signals: {error}")))?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let caught = signals.next().await;
                if sender.send_replace(Some(caught)).is_some() {
                    orphans::end();
                    std::process::exit(i32::from(ExitCode::Interrupted.code()));
                }
                terminal::tell(&format!(
                    "interrupted: {what_follows}; again to end at once"
                ));
            }
        });
        Ok(Self(receiver))
    }

    /// Whether one came already.
    pub(super) fn came(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The end of a child, which is told of the first signal unless it has it from the terminal.
    pub(super) async fn end_of(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        tokio::select! {
            status = child.wait() => return status,
            caught = self.first() => pass_on(caught, child),
        }
        child.wait().await
    }

    async fn first(&mut self) -> Caught {
        loop {
            if let Some(caught) = *self.0.borrow_and_update() {
                return caught;
            }
            if self.0.changed().await.is_err() {
                // Signals are watched for as long as the runtime runs.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn pass_on(caught: Caught, child: &Child) {
    let has_it = matches!(caught, Caught::Interrupt { reached_all: true });
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let (false, Some(pid)) = (has_it, pid) {
        // What has ended by itself need not be told.
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
    }
}
