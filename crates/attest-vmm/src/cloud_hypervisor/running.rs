//! A Cloud Hypervisor that runs: its end, and what can be asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attest_lab::{LastingTap, ProcessExit};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::calls::Confinement;
use super::ending::Seen;
use super::events::Event;
use super::memory::Memory;
use crate::microvm::alive::Alive;
use crate::microvm::control::Control;
use crate::microvm::place::Place;
use crate::output::Output;
use crate::qemu::console::{PANIC_TAKES, Watch};
use crate::{
    Balloon, BoxFuture, Ending, InPlace, Launched, Pause, Reboots, Running, SIGKILL, Saves,
    VmmError,
};

/// What is known of a Cloud Hypervisor that was just started.
pub(super) struct Parts {
    pub(super) process: Arc<dyn Launched>,
    pub(super) output: Output,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// Set where its log tells that the guest is off.
    pub(super) off: Arc<AtomicBool>,
    pub(super) console: Watch,
    pub(super) own: Own,
}

/// What a machine has for as long as it runs.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) control: Control,
    pub(super) place: Arc<Place>,
    pub(super) memory: Memory,
    pub(super) taps: Vec<LastingTap>,
    pub(super) confinement: Confinement,
    pub(super) balloon: bool,
}

/// A machine under Cloud Hypervisor.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) alive: Alive,
    /// Whether a reset boots the guest again.
    reboots: Arc<AtomicBool>,
    pub(super) own: Own,
}

impl Machine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            process,
            output,
            events,
            off,
            console,
            own,
        } = parts;
        let reboots = Arc::new(AtomicBool::new(false));
        let may_reboot = Arc::clone(&reboots);
        let alive = Alive::new(Arc::clone(&process), |killed| {
            let watcher = Watcher {
                process,
                killed,
                may_reboot,
                events,
                console,
                output,
                off,
                reset: false,
                reboots: 0,
            };
            watcher.ending()
        });
        Self {
            alive,
            reboots,
            own,
        }
    }
}

/// Finds out how the machine ended.
struct Watcher {
    process: Arc<dyn Launched>,
    killed: Arc<AtomicBool>,
    may_reboot: Arc<AtomicBool>,
    events: mpsc::UnboundedReceiver<Event>,
    console: Watch,
    output: Output,
    off: Arc<AtomicBool>,
    reset: bool,
    reboots: u32,
}

impl Watcher {
    async fn ending(mut self) -> Ending {
        let exit = self.until_exit().await;
        let announced = self.console.at_end().await;
        self.output.at_end().await;
        Seen {
            exit,
            killed: self.killed.load(Ordering::SeqCst),
            reset: self.reset,
            reboots: self.reboots,
            announced,
            off: self.off.load(Ordering::SeqCst),
            words: self.output.last_words(),
        }
        .judge()
    }

    async fn until_exit(&mut self) -> ProcessExit {
        let process = Arc::clone(&self.process);
        let exited = process.exited();
        tokio::pin!(exited);
        let mut announced = self.console.announced();
        // One that panicked resets itself; where it does not, it is ended.
        let mut panicked: Option<Instant> = None;
        loop {
            tokio::select! {
                exit = &mut exited => return exit,
                Some(event) = self.events.recv() => self.take(&event, panicked.is_some()),
                Ok(()) = announced.changed() => {
                    let announced = announced.borrow_and_update();
                    if announced.panic.is_some() {
                        panicked.get_or_insert_with(Instant::now);
                    } else if announced.off {
                        // Halted, or about to end by itself.
                        process.signal(SIGKILL);
                    }
                }
                () = stays(panicked) => {
                    process.signal(SIGKILL);
                    panicked = None;
                }
            }
        }
    }

    /// Cloud Hypervisor boots a guest again that was reset. Where that may not be, it is ended before it comes to that;
    /// a panic is an end also where it may.
    fn take(&mut self, event: &Event, panicked: bool) {
        if !event.is_reset() {
            return;
        }
        if self.may_reboot.load(Ordering::SeqCst) && !panicked {
            self.reboots += 1;
        } else {
            self.reset = true;
            self.process.signal(SIGKILL);
        }
    }
}

/// Until a guest that panicked then is taken for one that stays as it is.
async fn stays(panicked: Option<Instant>) {
    match panicked {
        Some(when) => tokio::time::sleep_until(when + PANIC_TAKES).await,
        None => std::future::pending().await,
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
        Reboots::InPlace(self)
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

impl InPlace for Machine {
    fn allow_reboot(&self, allow: bool) -> BoxFuture<'_, Result<(), VmmError>> {
        self.reboots.store(allow, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

impl Pause for Machine {
    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            let paused = self.own.control.api.put_nothing("/vm.pause").await;
            paused.map_err(self.own.control.refused("pause the guest"))
        })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            let resumed = self.own.control.api.put_nothing("/vm.resume").await;
            resumed.map_err(self.own.control.refused("let the guest go on"))
        })
    }
}
