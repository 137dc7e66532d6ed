//! Labs of tests that failed, kept as they were then.
//!
//! Such an entry has, beside what every snapshot has, what is needed to go on from it when its manifest has changed,
//! or is gone: [`PLAN`].

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attest_events::{EventKind, Phase, Verdict};
use attest_image::store::{SnapshotError, SnapshotStore, about_lab};
use attest_image::{CacheEntry, ImageError, Lease, Trust, Unfinished, Wanted};
use attest_manifest::{Isolation, LabPlan, MachinePlan, NetworkPlan, TimeoutPlan};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kept::Making;
use super::{Afterwards, Fields, Inner, SavedMachine, Snapshot, files};
use crate::boot;
use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext};
use crate::runtime::blocking;

/// The plan of the lab, as JSON.
const PLAN: &str = "lab.json";
/// How a lab's point begins that was kept of a failed test; the test's name follows.
const FAILED: &str = "failed: ";
/// How long a lab may take to be saved: its guests may answer nothing any more.
const LIMIT: Duration = Duration::from_mins(1);
/// Digits of a name: enough to tell some hundreds apart.
const DIGITS: usize = 8;

/// What of a plan a lab is made of that goes on: its tests and set-ups have been.
#[derive(Debug, Serialize, Deserialize)]
struct KeptPlan {
    name: String,
    directory: Option<PathBuf>,
    networks: Vec<NetworkPlan>,
    machines: Vec<MachinePlan>,
    timeouts: TimeoutPlan,
}

impl KeptPlan {
    fn of(plan: &LabPlan) -> Self {
        Self {
            name: plan.name.clone(),
            directory: plan.directory.clone(),
            networks: plan.networks.clone(),
            machines: plan.machines.clone(),
            timeouts: plan.timeouts.clone(),
        }
    }

    fn into_plan(self) -> LabPlan {
        LabPlan {
            name: self.name,
            directory: self.directory,
            networks: self.networks,
            images: Vec::new(),
            machines: self.machines,
            isolation: Isolation::default(),
            setups: Vec::new(),
            tests: Vec::new(),
            timeouts: self.timeouts,
        }
    }
}

/// Keeps labs of tests that failed.
#[derive(Debug)]
pub(crate) struct FailedLabs {
    /// The cache directory, when it is not the default.
    cache: Option<PathBuf>,
    /// The test, where its events do not say it.
    test: Option<String>,
    /// Why labs were not kept, as far as it was said.
    told: Mutex<HashSet<String>>,
}

impl FailedLabs {
    pub(crate) fn new(cache: Option<PathBuf>) -> Self {
        Self {
            cache,
            test: None,
            told: Mutex::default(),
        }
    }

    /// The same for one test alone, of this name.
    pub(crate) fn of_test(self, name: &str) -> Self {
        Self {
            test: Some(name.to_owned()),
            ..self
        }
    }

    /// Save a lab on which this error just happened. Gives the command that goes on from there; why there is none is
    /// a warning, once for each reason.
    pub(crate) async fn keep(&self, lab: &Lab, error: &Error) -> Option<String> {
        if error.verdict() == Verdict::Interrupted {
            return None;
        }
        match self.save(lab).await {
            Ok(name) => Some(command(&name, lab, error.machine())),
            Err(error) => {
                let message = format!("the lab of a failed test is not kept: {}", error.chain());
                let mut told = self.told.lock().expect("not poisoned");
                if told.insert(message.clone()) {
                    lab.recorder().record(EventKind::Warning { message });
                }
                None
            }
        }
    }

    async fn save(&self, lab: &Lab) -> Result<String> {
        let recorder = lab.recorder();
        recorder.enter(Phase::Snapshot);
        let began = Instant::now();
        let plan = lab.shared.plan.clone();
        let (cache, memory) = (self.cache.clone(), memory_of(&plan));
        let place = blocking(move || Place::make(cache.as_deref(), memory)).await?;
        let saving = lab.snapshot_in(Some(place.unfinished.directory()), Afterwards::GoOn);
        let saved = tokio::time::timeout(LIMIT, saving).await;
        let snapshot = saved.map_err(|_| Error::Io {
            action: format!("the lab was not saved within {} s", LIMIT.as_secs()),
            source: std::io::ErrorKind::TimedOut.into(),
        })??;
        let fields = Fields::of(&plan, &lab.shared.prepared()).await?;
        let recorder = recorder.clone();
        let of = recorder.test().or_else(|| self.test.clone());
        let point = format!("{FAILED}{}", of.unwrap_or_default());
        let kept = blocking(move || {
            let making = Making {
                unfinished: place.unfinished,
                store: place.store,
                fields,
                recorder,
                began,
            };
            let path = making.directory().join(PLAN);
            let text = serde_json::to_vec(&KeptPlan::of(&plan)).map_err(std::io::Error::from);
            let written = text.and_then(|text| fs::write(&path, text));
            written.map_err(ImageError::file(&path, "it cannot be written"))?;
            making.write(&snapshot.inner, &plan.name, &point, &Value::Null)?;
            Ok::<_, SnapshotError>(())
        });
        kept.await?;
        Ok(place.key.to_hex()[..DIGITS].to_owned())
    }
}

/// An entry of its own that has begun.
struct Place {
    unfinished: Unfinished,
    store: Arc<SnapshotStore>,
    key: blake3::Hash,
}

impl Place {
    /// Begin one of about so many bytes under a key of its own, for nobody but its maker wants it.
    fn make(cache: Option<&Path>, expected: u64) -> Result<Self, SnapshotError> {
        let store = crate::images::snapshots(cache)?;
        loop {
            // One that another has got already is there, and the next instant gives the next one.
            let now = crate::setup::wall_clock_ns();
            let key = blake3::hash(format!("{FAILED}{now} {}", std::process::id()).as_bytes());
            let wanted = store.want(key, expected, &mut |_| {})?.wanted;
            if let Wanted::Make(unfinished) = wanted {
                return Ok(Self {
                    unfinished,
                    store: Arc::new(store),
                    key,
                });
            }
        }
    }
}

/// Of all machines, bytes.
fn memory_of(plan: &LabPlan) -> u64 {
    plan.machines.iter().map(|machine| machine.memory).sum()
}

/// What goes on from there: in the machine that it is about, where there are several.
fn command(name: &str, lab: &Lab, machine: Option<&str>) -> String {
    let command = format!("attest shell --snapshot {name}");
    match lab.machines() {
        [] | [_] => command,
        [first, ..] => format!("{command} {}", machine.unwrap_or(first.name())),
    }
}

impl Snapshot {
    /// A lab that was kept of a failed test, by its name or a beginning of it. It stays where it is kept.
    ///
    /// # Errors
    /// There is none of this name, or there are more; it is broken; or what it needs is not what it was: another
    /// kernel, image, QEMU or processor.
    pub async fn of_failed(name: &str, context: LabContext) -> Result<Self> {
        let recorder = &context.recorder;
        let (cache, asked) = (context.cache.clone(), name.to_owned());
        let Found {
            plan,
            fields: there,
            machines,
            lease,
        } = blocking(move || find(cache.as_deref(), &asked)).await?;
        recorder.lab_started(plan.machines.iter().map(|machine| &machine.name));
        let prepared = boot::prepare(&plan, recorder, context.cache.as_deref()).await?;
        let fields = Fields::of(&plan, &prepared).await?;
        if let Some(reason) = fields.difference(&there) {
            return Err(Error::KeptElsewhere {
                name: name.to_owned(),
                reason,
            });
        }
        let inner = Inner::new(&plan, &prepared, context, machines);
        inner.hold(lease);
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What its labs are made of. Of one that was kept of a failed test, the tests and set-ups are not there.
    pub fn plan(&self) -> &LabPlan {
        &self.inner.shared.plan
    }
}

/// A lab that was kept.
struct Found {
    plan: LabPlan,
    /// What it is of.
    fields: Value,
    machines: Vec<SavedMachine>,
    lease: Lease,
}

fn find(cache: Option<&Path>, name: &str) -> Result<Found> {
    let store = crate::images::snapshots(cache)?;
    let mut kept: Vec<_> = store.caches().ls().map_err(SnapshotError::from)?;
    kept.retain(|entry| !entry.is_broken && entry.path.join(PLAN).exists());
    kept.sort_by_key(|entry| std::cmp::Reverse(entry.created));
    let named: Vec<_> = kept
        .iter()
        .filter(|entry| entry.is_meant_by(name))
        .collect();
    let unknown = |count| Error::UnknownKept {
        name: name.to_owned(),
        count,
        known: kept.iter().map(described).collect(),
    };
    let [entry] = named[..] else {
        return Err(unknown(named.len()));
    };
    let lease = match store.take(entry, &mut |_| {})? {
        Some(Trust::Whole(lease)) => lease,
        Some(Trust::Broken(broken)) => {
            return Err(Error::KeptElsewhere {
                name: name.to_owned(),
                reason: broken.to_string(),
            });
        }
        None => return Err(unknown(0)),
    };
    let read = || {
        let plan: KeptPlan = serde_json::from_slice(&fs::read(lease.entry().join(PLAN))?)?;
        Ok((plan.into_plan(), files::read(lease.entry())?.0))
    };
    let (plan, machines) = read().map_err(Error::io(format!(
        "{} cannot be read",
        lease.entry().display()
    )))?;
    let about = about_lab(lease.entry()).unwrap_or_default();
    Ok(Found {
        plan,
        fields: about["fields"].clone(),
        machines,
        lease,
    })
}

/// Its name, and what it is of.
fn described(entry: &CacheEntry) -> String {
    let about = about_lab(&entry.path).unwrap_or_default();
    let text = |key: &str| about[key].as_str().unwrap_or("?").to_owned();
    let name: String = entry.key().chars().take(DIGITS).collect();
    format!("{name} ({}, {})", text("lab"), text("point"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let text = r#"
            [networks.lan]
            subnet = "10.7.0.0/16"
            [machines.a]
            environment = { HOME = "/" }
            disks = [{ size = "8M" }]
            files = { "/etc/x" = { text = "y", mode = "0600" } }
            [machines.b]
            vcpus = 2
            kernel-arguments = ["quiet"]
            [images.system]
            directory = "/usr"
            users.me = { uid = 1000 }
            [machines.c]
            image = "system"
            [tests.t]
            steps = [{ on = "a", run = "true" }]
        "#;
        let manifest: attest_manifest::Manifest = text.parse().unwrap();
        let plan = manifest.plan().unwrap();
        let written = serde_json::to_vec(&KeptPlan::of(&plan)).unwrap();
        let read: KeptPlan = serde_json::from_slice(&written).unwrap();
        let read = read.into_plan();
        assert!(read.tests.is_empty());
        assert_eq!(read.machines, plan.machines);
        assert_eq!(read.networks, plan.networks);
        assert_eq!(
            (read.name, read.timeouts),
            (plan.name.clone(), plan.timeouts.clone())
        );
    }

    #[test]
    fn what_is_not_there_names_what_is() {
        let says = |count, known: &[&str]| {
            let error = Error::UnknownKept {
                name: "ab".to_owned(),
                count,
                known: known.iter().map(|&known| known.to_owned()).collect(),
            };
            error.to_string()
        };
        assert_eq!(
            says(0, &[]),
            "no lab is kept of a failed test as `ab`; none is kept: `attest run --keep failed` keeps them"
        );
        assert_eq!(
            says(2, &["ab12 (web, failed: ping)", "ab34 (web, failed: get)"]),
            "more than one lab is kept of a failed test as `ab`; there are: ab12 (web, failed: ping); ab34 (web, \
             failed: get)"
        );
    }
}
