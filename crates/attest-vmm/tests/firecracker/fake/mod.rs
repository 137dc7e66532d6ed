//! A strict fake of Firecracker: its command line, its API, and its ends.

mod calls;
mod devices;
mod kernel;
mod requests;
mod snapshot;
mod vmm;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;

use attest_vmm::BoxFuture;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::common::fate::Fate;
use crate::common::guest::Script;
use crate::common::http;
use crate::common::program::{Fake, Own};

use requests::Requests;
use vmm::Vmm;

/// A version, as `(1, 17, 0)`.
pub(crate) type Version = (u32, u32, u32);

/// What a fake Firecracker is, and what happens to it.
#[derive(Debug, Clone)]
pub(crate) struct Firecracker {
    pub(crate) version: Version,
    pub(crate) guest: Script,
    pub(crate) fate: Fate,
    /// It makes no API.
    pub(crate) is_mute: bool,
    /// There is no room for a file that it writes.
    pub(crate) is_full: Option<Full>,
    /// TAPs that somebody else has.
    pub(crate) busy_taps: BTreeSet<String>,
}

/// Where there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    State,
    Memory,
}

impl Default for Firecracker {
    fn default() -> Self {
        Self {
            version: (1, 15, 1),
            guest: Script::default(),
            fate: Fate::default(),
            is_mute: false,
            is_full: None,
            busy_taps: BTreeSet::new(),
        }
    }
}

impl Firecracker {
    /// Fact: snapshot formats match exactly or not at all (1.10→4, 1.11→5, 1.12→6, 1.13/1.14→8, 1.15→9, 1.16→10,
    /// 1.17-dev→11).
    pub(crate) fn snapshot_format(&self) -> u32 {
        match self.version.1 {
            13 => 8,
            minor => minor - 6,
        }
    }
}

/// Fact: 152/153 bad arguments.
const BAD_ARGUMENTS: i32 = 153;
const FAILED: i32 = 1;

/// What its command line says.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments {
    api: String,
    log: Option<String>,
    pub(super) pci: bool,
    pub(super) boot_timer: bool,
}

impl Arguments {
    fn parse(args: &[String], version: Version) -> Result<Self, String> {
        let mut parsed = Self {
            api: "/run/firecracker.socket".to_owned(),
            ..Self::default()
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix("--").unwrap_or(arg);
            let mut value = || {
                let missing = || format!("MissingValue(\"{name}\")");
                args.next().cloned().ok_or_else(missing)
            };
            match name {
                "id" | "level" => drop(value()?),
                "api-sock" => parsed.api = value()?,
                "log-path" => parsed.log = Some(value()?),
                "show-level" | "show-log-origin" => {}
                "boot-timer" => parsed.boot_timer = true,
                // It has PCI since 1.13.
                "enable-pci" if version >= (1, 13, 0) => parsed.pci = true,
                _ => return Err(format!("UnexpectedArgument(\"{name}\")")),
            }
        }
        Ok(parsed)
    }
}

/// Its log. Fact: logs share stdout unless `--log-path` is given.
#[derive(Clone)]
pub(super) struct Log(Arc<std::fs::File>);

impl Log {
    pub(super) fn line(&self, level: &str, words: &str) {
        let line = format!("2026-01-01T00:00:00.000000000 [vm:main:{level}] {words}\n");
        // Nobody reads it any more: it is about to be ended.
        let _ = (&*self.0).write_all(line.as_bytes());
    }
}

impl Fake for Firecracker {
    fn run(&self, own: Own) -> BoxFuture<'static, i32> {
        let firecracker = self.clone();
        Box::pin(async move { firecracker.live(own).await })
    }
}

impl Firecracker {
    async fn live(self, own: Own) -> i32 {
        let arguments = match Arguments::parse(&own.args, self.version) {
            Ok(arguments) => arguments,
            Err(words) => {
                own.complain(&format!("Error: ParseArguments({words})\n"));
                return BAD_ARGUMENTS;
            }
        };
        let log = match &arguments.log {
            Some(log) => own.open(log, OpenOptions::new().append(true)),
            None => own.output.try_clone().map(Into::into),
        };
        let log = match log {
            Ok(log) => Log(Arc::new(log)),
            Err(error) => {
                own.complain(&format!("Error: LoggerInitialization({error})\n"));
                return FAILED;
            }
        };
        log.line("INFO", "Running Firecracker");
        let code = self.serve(own, arguments, &log).await;
        if code == FAILED {
            log.line("ERROR", "Firecracker exiting with error. exit_code=1");
        } else {
            log.line("INFO", &format!("Firecracker exiting. exit_code={code}"));
        }
        code
    }

    async fn serve(self, own: Own, arguments: Arguments, log: &Log) -> i32 {
        if let Some(code) = self.fate.before_api() {
            return code;
        }
        if self.is_mute {
            return std::future::pending().await;
        }
        let api = arguments.api.clone();
        // Fact: API socket files must not exist at start, and are never removed.
        let Ok(listener) = UnixListener::bind(own.path(&api)) else {
            log.line(
                "ERROR",
                &format!("RunWithApiError error: Failed to open the API socket at: {api}. Check that it is not already used."),
            );
            own.complain(&format!(
                "Error: RunWithApi(FailedToBindSocket(\"{api}\"))\n"
            ));
            return FAILED;
        };
        let (exits, mut exited) = mpsc::unbounded_channel();
        let own = Arc::new(own);
        let tasks = own.tasks.clone();
        let vmm = Vmm::new(
            self.clone(),
            arguments,
            Arc::clone(&own),
            log.clone(),
            exits.clone(),
        );
        http::serve(listener, Requests::new(self, own, vmm, exits), &tasks);
        exited.recv().await.expect("there is a sender in each task")
    }
}
