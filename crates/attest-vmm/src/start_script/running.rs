//! A start script's machine that runs: its end, and what can be asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attest_lab::ProcessExit;
use tokio::sync::{mpsc, watch};

use super::LEFT_OPEN;
use super::backdoor::Serving;
use super::ending::Seen;
use crate::control::{Control, Human};
use crate::human_monitor::HumanMonitor;
use crate::monitor::Monitor;
use crate::output::Output;
use crate::qemu::console::Watch;
use crate::qmp::{Qmp, QmpEvent};
use crate::{BoxFuture, Ending, Launched, Pause, Reboots, Running, SIGKILL};

/// What is known of a machine that was just started.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) process: Arc<dyn Launched>,
    pub(super) qmp: Qmp,
    pub(super) human: HumanMonitor,
    pub(super) events: mpsc::UnboundedReceiver<QmpEvent>,
    pub(super) console: Watch,
    pub(super) output: Output,
    pub(super) may_reboot: bool,
    pub(super) serving: Serving,
}

/// A start script's machine.
#[derive(Debug)]
pub(super) struct Machine {
    process: Arc<dyn Launched>,
    control: Control,
    _serving: Serving,
    killed: Arc<AtomicBool>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Machine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            name,
            process,
            qmp,
            human,
            events,
            console,
            output,
            may_reboot,
            serving,
        } = parts;
        let qmp = Arc::new(qmp);
        let killed = Arc::new(AtomicBool::new(false));
        let (sender, ending) = watch::channel(None);
        let watcher = Watcher {
            process: Arc::clone(&process),
            _qmp: Arc::clone(&qmp),
            events,
            killed: Arc::clone(&killed),
            console,
            output,
            reason: None,
        };
        tokio::spawn(async move {
            let ending = watcher.ending().await;
            sender.send_replace(Some(ending));
        });
        let control = Control {
            name,
            qmp,
            human: Human::Own(human),
            always_reboots: may_reboot,
        };
        Self {
            process,
            control,
            _serving: serving,
            killed,
            ending,
        }
    }
}

/// Finds out how the machine ended.
struct Watcher {
    process: Arc<dyn Launched>,
    /// Events come as long as it is there.
    _qmp: Arc<Qmp>,
    events: mpsc::UnboundedReceiver<QmpEvent>,
    killed: Arc<AtomicBool>,
    console: Watch,
    output: Output,
    reason: Option<String>,
}

impl Watcher {
    async fn ending(mut self) -> Ending {
        let exit = self.until_exit().await;
        let rest = async {
            while let Some(event) = self.events.recv().await {
                take(&mut self.reason, &event);
            }
            self.output.at_end().await;
            self.console.at_end().await
        };
        let announced = tokio::time::timeout(LEFT_OPEN, rest).await;
        Seen {
            exit,
            killed: self.killed.load(Ordering::SeqCst),
            reason: self.reason,
            announced: announced.unwrap_or_else(|_| self.console.announced().borrow().clone()),
            words: self.output.last_words(),
        }
        .judge()
    }

    async fn until_exit(&mut self) -> ProcessExit {
        let exited = self.process.exited();
        tokio::pin!(exited);
        loop {
            tokio::select! {
                exit = &mut exited => return exit,
                Some(event) = self.events.recv() => take(&mut self.reason, &event),
            }
        }
    }
}

fn take(reason: &mut Option<String>, event: &QmpEvent) {
    if event.event == "SHUTDOWN" {
        *reason = event.data["reason"].as_str().map(str::to_owned);
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
        self.killed.store(true, Ordering::SeqCst);
        // A script may have started more than it became.
        self.process.signal_group(SIGKILL);
        Box::pin(async move {
            self.process.exited().await;
        })
    }

    fn reboots(&self) -> Reboots<'_> {
        Reboots::InPlace(&self.control)
    }

    fn pause(&self) -> Option<&dyn Pause> {
        Some(&self.control)
    }

    fn monitor(&self) -> Option<&dyn Monitor> {
        Some(&self.control)
    }
}
