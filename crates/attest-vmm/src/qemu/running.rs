//! A QEMU that runs: its end, and what can be asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attest_lab::ProcessExit;
use tokio::sync::{mpsc, watch};

use super::console::{Announced, PANIC_TAKES, Watch};
use super::ending::Seen;
use crate::control::{Control, Human};
use crate::monitor::Monitor;
use crate::output::Output;
use crate::qmp::{Qmp, QmpEvent};
use crate::{Accelerator, BoxFuture, Ending, Launched, Pause, Reboots, Running, SIGKILL, Saves};

/// What is known of a QEMU that was just started.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) process: Arc<dyn Launched>,
    pub(super) qmp: Qmp,
    pub(super) events: mpsc::UnboundedReceiver<QmpEvent>,
    pub(super) console: Watch,
    pub(super) output: Output,
    pub(super) accelerator: Accelerator,
}

/// A machine under QEMU.
#[derive(Debug)]
pub(super) struct Machine {
    process: Arc<dyn Launched>,
    control: Control,
    killed: Arc<AtomicBool>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Machine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            name,
            process,
            qmp,
            events,
            console,
            output,
            accelerator,
        } = parts;
        let qmp = Arc::new(qmp);
        let killed = Arc::new(AtomicBool::new(false));
        let (sender, ending) = watch::channel(None);
        let watcher = Watcher {
            process: Arc::clone(&process),
            qmp: Arc::clone(&qmp),
            killed: Arc::clone(&killed),
            events,
            console,
            output,
            accelerator,
            reason: None,
            reboots: 0,
        };
        tokio::spawn(async move {
            let ending = watcher.ending().await;
            sender.send_replace(Some(ending));
        });
        let control = Control {
            name,
            qmp,
            human: Human::ByQmp,
            always_reboots: false,
        };
        Self {
            process,
            control,
            killed,
            ending,
        }
    }
}

/// Nobody can end it any more: one that waits for what it is to be would do so as long as its lab is there.
impl Drop for Machine {
    fn drop(&mut self) {
        if self.ending.borrow().is_none() {
            self.killed.store(true, Ordering::SeqCst);
            self.process.signal(SIGKILL);
        }
    }
}

/// Finds out how the machine ended.
struct Watcher {
    process: Arc<dyn Launched>,
    qmp: Arc<Qmp>,
    killed: Arc<AtomicBool>,
    events: mpsc::UnboundedReceiver<QmpEvent>,
    console: Watch,
    output: Output,
    accelerator: Accelerator,
    reason: Option<String>,
    reboots: u32,
}

impl Watcher {
    async fn ending(mut self) -> Ending {
        let exit = self.until_exit().await;
        // Everything that QEMU said is read to its end before anything is judged.
        while let Some(event) = self.events.recv().await {
            self.take(&event);
        }
        let announced = self.console.at_end().await;
        self.output.at_end().await;
        Seen {
            exit,
            killed: self.killed.load(Ordering::SeqCst),
            reason: self.reason,
            reboots: self.reboots,
            announced,
            faulted: self.output.faulted(),
            words: self.output.last_words(),
            accelerator: self.accelerator,
        }
        .judge()
    }

    async fn until_exit(&mut self) -> ProcessExit {
        let process = Arc::clone(&self.process);
        let exited = process.exited();
        tokio::pin!(exited);
        let mut announced = self.console.announced();
        loop {
            tokio::select! {
                exit = &mut exited => return exit,
                Some(event) = self.events.recv() => self.take(&event),
                Ok(()) = announced.changed() => {
                    let announced = announced.borrow_and_update().clone();
                    if self.is_over(&announced).await {
                        self.process.signal(SIGKILL);
                    }
                }
            }
        }
    }

    /// Whether nothing more comes from this guest, although its QEMU may still run.
    async fn is_over(&mut self, announced: &Announced) -> bool {
        if announced.panic.is_none() {
            // Halted, or on a board that cannot switch off.
            return announced.off;
        }
        // Where reboots are allowed, a panic is still an end. QEMU that has just ended refuses.
        let end = async {
            let _ = self.qmp.set_reboot(false).await;
            self.process.exited().await;
        };
        let resets = async {
            while let Some(event) = self.events.recv().await {
                if event.event == "RESET" {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = end => {}
            () = resets => {}
            () = tokio::time::sleep(PANIC_TAKES) => {}
        }
        true
    }

    fn take(&mut self, event: &QmpEvent) {
        match event.event.as_str() {
            "SHUTDOWN" => self.reason = event.data["reason"].as_str().map(str::to_owned),
            "RESET" if event.data["guest"] == true => self.reboots += 1,
            _ => {}
        }
    }
}

impl Running for Machine {
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
        Reboots::InPlace(&self.control)
    }

    fn pause(&self) -> Option<&dyn Pause> {
        Some(&self.control)
    }

    fn saves(&self) -> Option<&dyn Saves> {
        Some(&self.control)
    }

    fn monitor(&self) -> Option<&dyn Monitor> {
        Some(&self.control)
    }
}
