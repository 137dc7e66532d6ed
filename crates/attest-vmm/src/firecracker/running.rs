//! A Firecracker that runs: its end, and what can be asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attest_lab::{LastingTap, ProcessExit};

use super::ending::Seen;
use super::save::SavedMemory;
use crate::microvm::alive::Alive;
use crate::microvm::control::Control;
use crate::microvm::place::Place;
use crate::output::Output;
use crate::qemu::console::Watch;
use crate::{Balloon, BoxFuture, Ending, Launched, Pause, Reboots, Running, SIGKILL, Saves};

/// What is known of a Firecracker that was just started.
pub(super) struct Parts {
    pub(super) process: Arc<dyn Launched>,
    pub(super) output: Output,
    pub(super) console: Watch,
    /// Whether its guest runs already, or waits for what is loaded.
    pub(super) runs: bool,
    pub(super) own: Own,
}

/// What a machine has for as long as it runs.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) control: Control,
    pub(super) place: Arc<Place>,
    pub(super) cannot_pause: Option<String>,
    pub(super) memory: SavedMemory,
    /// Whether Firecracker knows what a guest has touched.
    pub(super) knows_touched: bool,
    pub(super) taps: Vec<LastingTap>,
    pub(super) balloon: bool,
}

/// A machine under Firecracker.
#[derive(Debug)]
pub(super) struct Machine {
    alive: Alive,
    /// Whether its guest ever ran.
    pub(super) ran: Arc<AtomicBool>,
    pub(super) own: Own,
}

impl Machine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            process,
            output,
            console,
            runs,
            own,
        } = parts;
        let ran = Arc::new(AtomicBool::new(runs));
        let guest_ran = Arc::clone(&ran);
        let alive = Alive::new(Arc::clone(&process), |killed| {
            let watcher = Watcher {
                process,
                killed,
                ran: guest_ran,
                console,
                output,
            };
            watcher.ending()
        });
        Self { alive, ran, own }
    }
}

/// Finds out how the machine ended.
struct Watcher {
    process: Arc<dyn Launched>,
    killed: Arc<AtomicBool>,
    ran: Arc<AtomicBool>,
    console: Watch,
    output: Output,
}

impl Watcher {
    async fn ending(self) -> Ending {
        let exit = self.until_exit().await;
        let announced = self.console.at_end().await;
        self.output.at_end().await;
        Seen {
            exit,
            killed: self.killed.load(Ordering::SeqCst),
            ran: self.ran.load(Ordering::SeqCst),
            announced,
            words: self.output.last_words(),
        }
        .judge()
    }

    /// A guest that has switched itself off leaves its Firecracker behind: there is nothing that could be off.
    async fn until_exit(&self) -> ProcessExit {
        let exited = self.process.exited();
        tokio::pin!(exited);
        let mut announced = self.console.announced();
        loop {
            tokio::select! {
                exit = &mut exited => return exit,
                Ok(()) = announced.changed() => {
                    if announced.borrow_and_update().off {
                        self.process.signal(SIGKILL);
                    }
                }
            }
        }
    }
}

impl Running for Machine {
    fn pid(&self) -> u32 {
        self.alive.pid()
    }

    fn ended(&self) -> BoxFuture<'_, Ending> {
        self.alive.ended()
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.alive.kill()
    }

    fn reboots(&self) -> Reboots<'_> {
        Reboots::Anew
    }

    fn pause(&self) -> Option<&dyn Pause> {
        Some(self)
    }

    fn saves(&self) -> Option<&dyn Saves> {
        Some(self)
    }

    fn balloon(&self) -> Option<&dyn Balloon> {
        self.own.balloon.then_some(self)
    }
}
