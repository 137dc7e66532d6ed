//! A strict fake of Cloud Hypervisor: its command line, its API, what it tells by itself, and its ends.

mod config;
mod requests;
mod snapshot;
mod vmm;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixListener as BlockingListener;
use std::sync::Arc;

use attest_vmm::BoxFuture;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::common::fate::Fate;
use crate::common::guest::Script;
use crate::common::http;
use crate::common::program::{Fake, Own};

use requests::Requests;
use vmm::Vmm;

/// What a fake Cloud Hypervisor is, and what happens to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CloudHypervisor {
    pub(crate) guest: Script,
    pub(crate) fate: Fate,
    /// There is no room for what it saves.
    pub(crate) is_full: bool,
    /// Its KVM saves no state of guests in guests.
    pub(crate) lacks_nested_state: bool,
    /// TAPs that somebody else has.
    pub(crate) busy_taps: BTreeSet<String>,
}

/// For arguments that it does not know.
const BAD_ARGUMENTS: i32 = 2;

/// What its command line says: numbers of descriptors.
struct Arguments {
    api: usize,
    events: usize,
    /// Whether it logs more than warnings.
    pub(super) is_verbose: bool,
}

impl Arguments {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut parsed = Self {
            api: 0,
            events: 0,
            is_verbose: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut fd = || {
                let value = args.next()?;
                value.strip_prefix("fd=")?.parse().ok()
            };
            match arg.as_str() {
                "-v" => parsed.is_verbose = true,
                "--api-socket" => parsed.api = fd().ok_or("no descriptor for the API")?,
                "--event-monitor" => parsed.events = fd().ok_or("no descriptor for events")?,
                other => return Err(format!("unexpected argument '{other}' found")),
            }
        }
        Ok(parsed)
    }
}

/// Its log, and what it tells of its machine.
#[derive(Clone)]
pub(super) struct Told {
    events: Arc<File>,
    log: Option<Arc<Own>>,
}

impl Told {
    /// Something has happened. Each event ends with a blank line.
    pub(super) fn event(&self, source: &str, event: &str) {
        let timestamp = json!({ "secs": 0, "nanos": 1 });
        let event =
            json!({ "timestamp": timestamp, "source": source, "event": event, "properties": null });
        // Nobody listens to one that is about to be ended.
        let _ = (&*self.events).write_all(format!("{event:#}\n\n").as_bytes());
    }

    pub(super) fn info(&self, words: &str) {
        if let Some(own) = &self.log {
            own.complain(&format!(
                "cloud-hypervisor:   0.001234s: <vmm> INFO:vmm/src/lib.rs:1 -- {words}\n"
            ));
        }
    }
}

impl Fake for CloudHypervisor {
    fn run(&self, own: Own) -> BoxFuture<'static, i32> {
        let fake = self.clone();
        Box::pin(async move { fake.live(own).await })
    }
}

impl CloudHypervisor {
    async fn live(self, own: Own) -> i32 {
        let arguments = match Arguments::parse(&own.args) {
            Ok(arguments) => arguments,
            Err(words) => {
                own.complain(&format!(
                    "error: {words}\n\nFor more information, try '--help'.\n"
                ));
                return BAD_ARGUMENTS;
            }
        };
        if let Some(code) = self.fate.before_api() {
            return code;
        }
        let listener = BlockingListener::from(own.fd(arguments.api).unwrap());
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let own = Arc::new(own);
        let told = Told {
            events: Arc::new(own.fd(arguments.events).unwrap().into()),
            log: arguments.is_verbose.then(|| Arc::clone(&own)),
        };
        told.event("vmm", "starting");
        let (exits, mut exited) = mpsc::unbounded_channel();
        let vmm = Vmm::new(self.clone(), Arc::clone(&own), told, exits.clone());
        let tasks = own.tasks.clone();
        http::serve(listener, Requests::new(self, own, vmm, exits), &tasks);
        exited.recv().await.expect("there is a sender in each task")
    }
}
