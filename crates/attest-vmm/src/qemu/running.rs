//! A QEMU that runs: its end, and what can be asked of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use attest_lab::{Process, ProcessExit};
use tokio::sync::{mpsc, watch};

use super::console::{Announced, Watch};
use crate::qmp::{Qmp, QmpEvent};
use crate::{BoxFuture, Ending, EndingKind, Pause, Running, VmmError};

const SIGKILL: i32 = 9;

/// QEMU's own stdout and stderr: to a log, with the last lines kept.
#[derive(Debug, Clone)]
pub(super) struct Output {
    kept: Arc<Mutex<Kept>>,
    ended: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    triple_fault: bool,
}

impl Output {
    /// Lines kept for errors.
    const LINES: usize = 20;
    /// Longest line that is kept.
    const LONGEST: u64 = 4096;

    /// Drain the pipe on a thread of its own: QEMU must never block on it.
    pub(super) fn follow(pipe: impl Read + Send + 'static, log: Option<PathBuf>) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let (sender, ended) = watch::channel(false);
        let keeping = Arc::clone(&kept);
        tokio::task::spawn_blocking(move || {
            // Without its log a machine can still run.
            let mut log = log.and_then(|path| File::create(path).ok());
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut pipe).take(Self::LONGEST).read_until(b'\n', &mut line) {
                if let Some(file) = &mut log {
                    let _ = file.write_all(&line);
                }
                keeping.lock().expect("not poisoned").push(&line);
                line.clear();
            }
            sender.send_replace(true);
        });
        Self { kept, ended }
    }

    async fn at_end(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// What QEMU said last, as one line.
    pub(super) async fn last_words(&self) -> String {
        self.at_end().await;
        let kept = self.kept.lock().expect("not poisoned");
        let words: Vec<&str> = kept.lines.iter().map(String::as_str).collect();
        if words.is_empty() { "it said nothing".to_owned() } else { words.join("; ") }
    }
}

impl Kept {
    fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim().to_owned();
        self.triple_fault |= line.contains("Triple fault");
        // The register dumps of `-d cpu_reset` are no words.
        let words = ["qemu", "Could", "error", "Failed", "failed", "Unable"].iter().any(|word| line.contains(word));
        if words {
            if self.lines.len() == Output::LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }
}

/// A machine under QEMU.
#[derive(Debug)]
pub(super) struct Machine {
    process: Arc<Process>,
    qmp: Qmp,
    killed: Arc<AtomicBool>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Machine {
    pub(super) fn new(
        process: Process,
        qmp: Qmp,
        events: mpsc::UnboundedReceiver<QmpEvent>,
        console: Arc<Watch>,
        output: Output,
    ) -> Self {
        let process = Arc::new(process);
        let killed = Arc::new(AtomicBool::new(false));
        let (sender, ending) = watch::channel(None);
        let watcher =
            Watcher { process: Arc::clone(&process), killed: Arc::clone(&killed), events, console, output, reason: None };
        tokio::spawn(async move {
            let ending = watcher.ending().await;
            sender.send_replace(Some(ending));
        });
        Self { process, qmp, killed, ending }
    }

    fn failed(source: crate::qmp::QmpError) -> VmmError {
        VmmError::Monitor { source }
    }
}

/// Finds out how the machine ended.
struct Watcher {
    process: Arc<Process>,
    killed: Arc<AtomicBool>,
    events: mpsc::UnboundedReceiver<QmpEvent>,
    console: Arc<Watch>,
    output: Output,
    reason: Option<String>,
}

impl Watcher {
    async fn ending(mut self) -> Ending {
        let exit = self.until_exit().await;
        while let Ok(event) = self.events.try_recv() {
            self.take(&event);
        }
        let announced = self.console.at_end().await;
        self.output.at_end().await;
        let (kind, detail) = self.classify(exit, announced).await;
        Ending { kind, detail }
    }

    async fn until_exit(&mut self) -> ProcessExit {
        let mut announced = self.console.announced();
        loop {
            tokio::select! {
                exit = self.process.exited() => return exit,
                Some(event) = self.events.recv() => self.take(&event),
                Ok(()) = announced.changed() => {
                    // A board without power management stays on when its guest is off.
                    if *announced.borrow_and_update() == Announced::Off {
                        self.process.signal(SIGKILL);
                    }
                }
            }
        }
    }

    fn take(&mut self, event: &QmpEvent) {
        if event.event == "SHUTDOWN" {
            self.reason = event.data["reason"].as_str().map(str::to_owned);
        }
    }

    async fn classify(&self, exit: ProcessExit, announced: Announced) -> (EndingKind, String) {
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        match (exit, announced) {
            (ProcessExit::LabEnded, _) => (EndingKind::LabEnded, "the lab process died".to_owned()),
            _ if self.killed.load(Ordering::SeqCst) => (EndingKind::Killed, "ended by attest".to_owned()),
            (_, Announced::Panic(message)) => (EndingKind::Panic, message),
            (_, Announced::Off) => (EndingKind::PoweredOff, "the guest switched itself off".to_owned()),
            (ProcessExit::Signal(signal), _) => {
                (EndingKind::VmmCrashed, format!("QEMU was ended by signal {signal}"))
            }
            (ProcessExit::Code(0), announced) => match reason {
                "guest-shutdown" => (EndingKind::PoweredOff, "the guest switched itself off".to_owned()),
                "guest-panic" => (EndingKind::Panic, "the guest reported a panic".to_owned()),
                "guest-reset" if announced == Announced::Reset => (EndingKind::Reset, "the guest rebooted".to_owned()),
                "guest-reset" if self.output.kept.lock().expect("not poisoned").triple_fault => {
                    (EndingKind::TripleFault, "the processor hit a triple fault".to_owned())
                }
                "guest-reset" => (EndingKind::Reset, "the guest reset itself without a word".to_owned()),
                other => (EndingKind::VmmCrashed, format!("QEMU ended by itself: {other}")),
            },
            (ProcessExit::Code(code), _) => {
                let words = self.output.last_words().await;
                (EndingKind::VmmCrashed, format!("QEMU ended with exit code {code}: {words}"))
            }
        }
    }
}

impl Running for Machine {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn ended(&self) -> BoxFuture<'_, Ending> {
        let mut ending = self.ending.clone();
        Box::pin(async move {
            match ending.wait_for(Option::is_some).await.map(|ending| ending.clone()) {
                Ok(Some(ending)) => ending,
                _ => Ending { kind: EndingKind::LabEnded, detail: "the driver is ending".to_owned() },
            }
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.killed.store(true, Ordering::SeqCst);
        self.process.signal(SIGKILL);
        Box::pin(async move {
            self.process.exited().await;
        })
    }

    fn allow_reboot(&self, allow: bool) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move { self.qmp.set_reboot(allow).await.map_err(Self::failed) })
    }

    fn pause(&self) -> Option<&dyn Pause> {
        Some(self)
    }
}

impl Pause for Machine {
    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move { self.qmp.stop().await.map_err(Self::failed) })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move { self.qmp.cont().await.map_err(Self::failed) })
    }
}
