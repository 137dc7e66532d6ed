//! Signals while a script runs: who interrupts at a terminal reaches the script, too.

use std::fs::File;
use std::io;

use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caught {
    /// SIGINT.
    Interrupt {
        /// Whether it was the terminal's, which every process in the foreground gets.
        reached_all: bool,
    },
    /// SIGTERM.
    Terminate,
}

/// Signals that would end attest, caught.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupts: Signal,
    terminations: Signal,
}

impl Signals {
    /// Catch them from now on.
    pub(crate) fn watch() -> io::Result<Self> {
        Ok(Self {
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
        })
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupts.recv() => Caught::Interrupt { reached_all: in_foreground() },
            _ = self.terminations.recv() => Caught::Terminate,
        }
    }
}

/// Whether the terminal's Ctrl-C reaches our process group.
fn in_foreground() -> bool {
    File::open("/dev/tty")
        .ok()
        .and_then(|terminal| tcgetpgrp(&terminal).ok())
        .is_some_and(|group| group == getpgrp())
}
