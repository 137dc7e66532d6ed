//! What one client works with: its labs, its script, its log.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use attest::events::Part as Waited;
use attest::{Lab, Recorder};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::error::RpcError;
use crate::snapshots::Snapshots;
use crate::types::{Description, LabInfo, MachineInfo, NetworkInfo, ScriptEnd, VlanInfo};

/// Events that may wait for a client that subscribed; what it is too slow for, it misses.
const EVENTS: usize = 64 * 1024;

/// One client's session. It ends with its socket; its labs end with it.
#[derive(Debug)]
pub struct Session {
    description: Description,
    recorder: Recorder,
    labs: Mutex<BTreeMap<u32, Lab>>,
    snapshots: Snapshots,
    script: watch::Sender<ScriptState>,
    /// Commands that nobody waits for.
    detached: Mutex<JoinSet<()>>,
    /// Parts of the log that have begun, by the client's numbers.
    parts: Mutex<HashMap<u64, Part>>,
    /// Once they are subscribed to: the room for what waits takes a millisecond to make.
    events: OnceLock<broadcast::Sender<Arc<attest_events::Event>>>,
}

/// How far the script is.
#[derive(Debug, Clone)]
enum ScriptState {
    /// Its Python starts.
    Starts,
    Runs,
    Ended(ScriptEnd),
}

impl ScriptState {
    fn end(&self) -> Option<&ScriptEnd> {
        match self {
            Self::Starts | Self::Runs => None,
            Self::Ended(end) => Some(end),
        }
    }
}

/// A part of the log that has begun.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) began: Instant,
    pub(crate) machine: Option<String>,
}

impl Session {
    /// A session whose script is told this, and whose events go there.
    pub fn new(description: Description, recorder: Recorder) -> Self {
        Self {
            description,
            recorder,
            labs: Mutex::default(),
            snapshots: Snapshots::default(),
            script: watch::Sender::new(ScriptState::Starts),
            detached: Mutex::default(),
            parts: Mutex::default(),
            events: OnceLock::new(),
        }
    }

    /// Give it a lab: the first is the one that it describes. Its number.
    pub fn add(&self, lab: Lab) -> u32 {
        let mut labs = self.labs.lock().expect("not poisoned");
        let number = labs.keys().next_back().map_or(1, |last| last + 1);
        labs.insert(number, lab);
        number
    }

    /// Wait until its Python has started and was told what to do.
    pub async fn script_runs(&self) {
        let mut script = self.script.subscribe();
        let told = script.wait_for(|script| !matches!(script, ScriptState::Starts));
        told.await.expect("the sender lives in self");
    }

    /// The script's end, as soon as its runner has told it.
    pub async fn script_ended(&self) -> ScriptEnd {
        let mut script = self.script.subscribe();
        let told = script.wait_for(|script| script.end().is_some()).await;
        let told = told.expect("the sender lives in self");
        told.end().cloned().expect("waited for")
    }

    /// The script's end, if its runner has told it.
    pub fn script_end(&self) -> Option<ScriptEnd> {
        self.script.borrow().end().cloned()
    }

    /// Pass an event of the run to clients that subscribed.
    pub fn publish(&self, event: &attest_events::Event) {
        if let Some(events) = self.events.get() {
            // Nobody may be reading.
            let _ = events.send(Arc::new(event.clone()));
        }
    }

    /// End its labs.
    pub async fn close(&self) {
        self.detached.lock().expect("not poisoned").abort_all();
        let labs = std::mem::take(&mut *self.labs.lock().expect("not poisoned"));
        for lab in labs.values() {
            lab.shutdown().await;
        }
        self.snapshots.clear();
    }

    /// All its labs.
    pub fn labs(&self) -> Vec<Lab> {
        let labs = self.labs.lock().expect("not poisoned");
        labs.values().cloned().collect()
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(crate) fn describe(&self) -> Description {
        if self.description.script.is_some() {
            // Its Python runs, and begins with it.
            self.recorder.part(Waited::Script);
            self.script.send_if_modified(|script| {
                let begins = matches!(script, ScriptState::Starts);
                if begins {
                    *script = ScriptState::Runs;
                }
                begins
            });
        }
        let mut description = self.description.clone();
        let first = self.labs.lock().expect("not poisoned").get(&1).cloned();
        description.lab = first.map(|lab| lab_info(1, &lab));
        description
    }

    pub(crate) fn lab(&self, number: u32) -> Result<Lab, RpcError> {
        let labs = self.labs.lock().expect("not poisoned");
        labs.get(&number)
            .cloned()
            .ok_or_else(|| RpcError::usage(format!("there is no lab {number} in this session")))
    }

    pub(crate) fn take_lab(&self, number: u32) -> Result<Lab, RpcError> {
        let lab = self.lab(number)?;
        self.labs.lock().expect("not poisoned").remove(&number);
        Ok(lab)
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    pub(crate) fn end_script(&self, end: ScriptEnd) {
        self.recorder.part(Waited::ClientEnd);
        self.script.send_replace(ScriptState::Ended(end));
    }

    /// The events from now on; none where they were subscribed to before.
    pub(crate) fn subscribe(&self) -> Option<broadcast::Receiver<Arc<attest_events::Event>>> {
        if self.events.get().is_some() {
            return None;
        }
        let (events, receiver) = broadcast::channel(EVENTS);
        self.events.set(events).ok().map(|()| receiver)
    }

    pub(crate) fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut detached = self.detached.lock().expect("not poisoned");
        while detached.try_join_next().is_some() {}
        detached.spawn(work);
    }

    pub(crate) fn begin(&self, id: u64, machine: Option<String>) {
        let part = Part {
            began: Instant::now(),
            machine,
        };
        self.parts.lock().expect("not poisoned").insert(id, part);
    }

    pub(crate) fn end(&self, id: u64) -> Option<Part> {
        self.parts.lock().expect("not poisoned").remove(&id)
    }
}

/// A lab as clients see it.
pub(crate) fn lab_info(id: u32, lab: &Lab) -> LabInfo {
    LabInfo {
        id,
        output: lab.output().to_owned(),
        machines: lab
            .machines()
            .iter()
            .map(|machine| machine_info(id, machine))
            .collect(),
        networks: lab
            .networks()
            .map(|network| NetworkInfo {
                name: network.name().to_owned(),
            })
            .collect(),
        vlans: vlans(lab),
    }
}

fn vlans(lab: &Lab) -> Vec<VlanInfo> {
    lab.vlans()
        .iter()
        .map(|vlan| VlanInfo {
            nr: vlan.number(),
            socket_dir: vlan.socket_dir().to_owned(),
            pid: vlan.pid(),
        })
        .collect()
}

/// A machine as clients see it.
pub(crate) fn machine_info(lab: u32, machine: &attest::Machine) -> MachineInfo {
    MachineInfo {
        lab,
        name: machine.name().to_owned(),
        kind: machine.plan().backend.name().to_owned(),
        start_command: machine.start_command().map(str::to_owned),
        state_dir: machine.state_dir().map(Path::to_owned),
        shared_dir: machine.shared_dir().map(Path::to_owned),
        booted: machine.is_running(),
    }
}
