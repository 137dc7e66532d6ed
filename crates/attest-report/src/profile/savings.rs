//! What could be saved: only what the events of the run prove, with estimates from its own numbers.

use std::collections::BTreeSet;

use attest_events::{BootsBecause, Event, EventKind, Part, Row};
use serde::Serialize;

use super::lanes::Account;
use super::operations::{Operations, Took, What};
use super::prefixes::Prefixes;
use super::units::Units;

/// How many are told.
const TOLD: usize = 3;
/// Less than this part of the whole is not worth a change: one in so many.
const WORTH_PART: u64 = 50;
/// Nor is less than this, nanoseconds.
const WORTH_NS: u64 = 20_000_000;
/// A command that is run this often on a machine is many times the same.
const OFTEN: u64 = 10;

/// What could be saved, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saving {
    /// How much of the wall time at most, nanoseconds.
    pub ns: u64,
    /// What takes it.
    pub what: String,
    /// What to do: with the flag or the key of the manifest.
    pub how: String,
}

/// What savings are made of, beside what the profile has anyway.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of the host; 0 where that is not known.
    pub(super) processors: u32,
    /// What all processes used of them, as far as it is known.
    pub(super) busy_ns: u64,
    jobs: u32,
    /// What tests took with their labs, added up.
    lanes: Vec<(Option<String>, u64)>,
    tests_ns: u64,
    longest_ns: u64,
    tests: u64,
    labs: u64,
    always_boots: BTreeSet<&'static str>,
    /// Labs that booted although such are saved, …
    saved: u64,
    /// … and those for which nothing was saved, since nothing else would have gone on from it.
    unsaved: u64,
    /// Tests whose images are looked for, …
    images: BTreeSet<Option<String>>,
    /// … and whether any was made then.
    makes_images: bool,
    prefixes: Prefixes,
}

impl Seen {
    pub(super) fn event(&mut self, event: &Event) {
        self.prefixes.event(event);
        match &event.kind {
            EventKind::RunStarted { jobs, .. } => self.jobs = *jobs,
            EventKind::LabStarted { .. } => self.labs += 1,
            EventKind::TestStarted => self.lanes.push((event.test.clone(), event.at_ns)),
            EventKind::TestEnded { .. } => {
                if let Some(place) = self.lanes.iter().position(|(test, _)| *test == event.test) {
                    let (_, began_ns) = self.lanes.remove(place);
                    self.tests += 1;
                    let took_ns = event.at_ns.saturating_sub(began_ns);
                    self.tests_ns += took_ns;
                    self.longest_ns = self.longest_ns.max(took_ns);
                }
            }
            EventKind::AlwaysBoots { why } => {
                self.always_boots.insert(word(*why));
            }
            EventKind::Chosen {
                what,
                choice,
                reason,
            } if what == "snapshot" => match choice.as_str() {
                "go on" => {}
                _ if reason.contains("none is made") => self.unsaved += 1,
                _ => self.saved += 1,
            },
            EventKind::PartStarted { part, .. } if event.machine.is_none() => {
                self.images.remove(&event.test);
                if *part == Part::Images {
                    self.images.insert(event.test.clone());
                }
            }
            // Where images are there, nothing is told of them.
            EventKind::Progress { .. } if self.images.contains(&event.test) => {
                self.makes_images = true;
            }
            _ => {}
        }
    }

    /// Those that are worth it, the most first.
    pub(super) fn savings(
        &self,
        total_ns: u64,
        account: &Account,
        operations: &Operations,
        units: &Units,
    ) -> Vec<Saving> {
        let mut all: Vec<Saving> = Vec::new();
        all.extend(self.boots(account));
        all.extend(self.makes_images.then(|| images(account)));
        all.extend(self.jobs());
        let are_saved = self.always_boots.is_empty();
        if are_saved {
            all.extend(self.prefixes.saving(account));
        }
        all.extend(wait(operations, account, are_saved));
        all.extend(repeated(operations, account));
        all.extend(copies(operations, account));
        all.extend(requests(operations, account));
        all.extend(unit(units, account));
        all.retain(|saving| saving.ns >= WORTH_NS && saving.ns >= total_ns / WORTH_PART);
        all.sort_by_key(|saving| std::cmp::Reverse(saving.ns));
        all.truncate(TOLD);
        all
    }

    /// Boots in place of snapshots.
    fn boots(&self, account: &Account) -> Option<Saving> {
        let ns = [Part::Kernel, Part::MachineSetUp, Part::System];
        let ns = ns.iter().map(|part| account.wall[*part as usize]).sum();
        let always = |why: BootsBecause| self.always_boots.contains(word(why));
        let (what, how) = if always(BootsBecause::Asked) {
            (
                "boots, for snapshots are not used",
                "leave out `--snapshots never` (or $ATTEST_SNAPSHOTS): labs boot once, and tests go on from there",
            )
        } else if always(BootsBecause::Isolation) {
            (
                "boots, one for each test",
                "`isolation = \"auto\"` in the manifest, in place of `boot`: labs boot once, and tests go on from there",
            )
        } else if always(BootsBecause::Backend) {
            return self.shared(account);
        } else if self.unsaved > 0 {
            (
                "boots of labs that are not saved",
                "`--snapshots auto`, in place of `needed`, where the snapshots' directory stays",
            )
        } else if self.saved > 0 {
            let ns = ns + account.wall[Part::Save as usize] + account.wall[Part::Keep as usize];
            return Some(Saving {
                ns,
                what: "boots of labs, and saving them".to_owned(),
                how: "nothing, where $ATTEST_SNAPSHOTS_DIR stays: the next run goes on from what was saved"
                    .to_owned(),
            });
        } else {
            return None;
        };
        Some(saving(ns, what, how))
    }

    /// Machines that cannot be saved could be shared.
    fn shared(&self, account: &Account) -> Option<Saving> {
        let others = self.labs.checked_sub(1)?;
        let is_lab = |part: Part| {
            let row = part.row();
            matches!(row, Row::SetUp | Row::RootFileSystem | Row::Boot) || part == Part::LabEnd
        };
        let those = Part::ALL.into_iter().filter(|part| is_lab(*part));
        let ns: u64 = those.map(|part| account.wall[part as usize]).sum();
        let what = format!("{} labs, a new one for each test", self.labs);
        let how = "`isolation = \"shared\"` in the manifest, where tests leave machines as they found them: one lab for all";
        Some(saving(ns / self.labs * others, &what, how))
    }

    /// Tests one at a time, where there are more processors.
    fn jobs(&self) -> Option<Saving> {
        let at_once = u64::from(self.processors).min(self.tests);
        if self.jobs != 1 || at_once < 2 {
            return None;
        }
        // All that is computed stays to be computed, and no test becomes shorter.
        let busy_ns = self.busy_ns / u64::from(self.processors);
        let least_ns = (self.tests_ns / at_once).max(busy_ns).max(self.longest_ns);
        let ns = self.tests_ns.saturating_sub(least_ns);
        let what = format!(
            "{} tests, one at a time, on {} processors",
            self.tests, self.processors
        );
        let how =
            format!("`-j {at_once}`, or no `-j`: what guests leave of the processors is used");
        Some(Saving { ns, what, how })
    }
}

fn word(why: BootsBecause) -> &'static str {
    match why {
        BootsBecause::Asked => "asked",
        BootsBecause::Isolation => "isolation",
        BootsBecause::Backend => "backend",
    }
}

fn saving(ns: u64, what: &str, how: &str) -> Saving {
    Saving {
        ns,
        what: what.to_owned(),
        how: how.to_owned(),
    }
}

/// What operations take side by side cannot be saved twice: of all of a part, no more than its wall time.
fn bounded(ns: u64, account: &Account, part: Part) -> u64 {
    ns.min(account.wall[part as usize])
}

/// Images that were made in this run.
fn images(account: &Account) -> Saving {
    let ns = account.wall[Part::Images as usize];
    let what = "images that were made in this run";
    let how = "`attest image build` ahead, with the same cache directory: what is there is only looked up";
    saving(ns, what, how)
}

fn most(
    operations: &Operations,
    is_it: impl Fn(&What, &Took) -> bool,
    ns: impl Fn(&Took) -> u64,
) -> Option<(&What, &Took)> {
    let those = operations
        .equal
        .iter()
        .filter(|(what, took)| is_it(what, took));
    those.max_by_key(|(_, took)| ns(took))
}

/// The wait that takes most.
fn wait(operations: &Operations, account: &Account, are_saved: bool) -> Option<Saving> {
    let (what, took) = most(
        operations,
        |what, _| what.operation == "wait",
        |took| took.total_ns,
    )?;
    let What {
        machine, subject, ..
    } = what;
    let ns = bounded(took.total_ns, account, Part::Waits);
    let often = often(took.count);
    let what = format!("waiting for {subject} on {machine}{often}");
    let how = if are_saved {
        "wait in a set-up (`[setups.NAME]`, `@attest.setup`): tests go on from where it was met; or let what it is for \
         start sooner"
    } else {
        "let what it is for start sooner: earlier in the boot, or with less before it"
    };
    Some(saving(ns, &what, how))
}

/// The same command again and again.
fn repeated(operations: &Operations, account: &Account) -> Option<Saving> {
    let saved = |took: &Took| took.least_ns * (took.count - 1);
    let is_it = |what: &What, took: &Took| what.operation == "exec" && took.count >= OFTEN;
    let (what, took) = most(operations, is_it, saved)?;
    let ns = bounded(saved(took), account, Part::Commands);
    let what = format!(
        "`{}` on {}{}: each starts its program anew",
        what.subject,
        what.machine,
        often(took.count)
    );
    let how = "one command with a loop in place of many; or `wait_until_succeeds`, which tries again inside the machine";
    Some(saving(ns, &what, how))
}

/// The copy that takes most.
fn copies(operations: &Operations, account: &Account) -> Option<Saving> {
    let is_it = |what: &What, _: &Took| matches!(what.operation.as_str(), "upload" | "download");
    let (what, took) = most(operations, is_it, |took| took.total_ns)?;
    let ns = bounded(took.total_ns, account, Part::Copies);
    let how = match what.operation.as_str() {
        "upload" => {
            "have it in the image (`files` of `[images.NAME]` or `[machines.NAME]`), or copy it in a set-up"
        }
        _ => "copy less: what is only compared can be compared inside the machine",
    };
    let what = format!(
        "{} of {} ({}){}",
        what.operation,
        what.subject,
        what.machine,
        often(took.count)
    );
    Some(saving(ns, &what, how))
}

/// Reboots and ends of the power.
fn requests(operations: &Operations, account: &Account) -> Option<Saving> {
    let is_it = |what: &What, _: &Took| matches!(what.operation.as_str(), "reboot" | "power-off");
    let (what, took) = most(operations, is_it, |took| took.total_ns)?;
    let ns = bounded(took.total_ns, account, Part::Requests);
    let how = match what.operation.as_str() {
        "reboot" => {
            "where only the state is to be fresh, `lab.snapshot()` and `restore`, or a test of its own"
        }
        _ => "leave it out where its end is not what is tested: attest ends machines at once",
    };
    let what = format!(
        "{} of {}{}",
        what.operation,
        what.machine,
        often(took.count)
    );
    Some(saving(ns, &what, how))
}

/// The unit whose start takes longest in boots that were waited for.
fn unit(units: &Units, account: &Account) -> Option<Saving> {
    let slowest = units.slowest().into_iter().next()?;
    let ns = bounded(
        slowest.ns.saturating_mul(u64::from(slowest.boots)),
        account,
        Part::System,
    );
    let what = format!("the start of {} in {}", slowest.unit, slowest.machine);
    let how = format!(
        "`units.mask = [\"{}\"]` in its image, where no test needs it",
        slowest.unit
    );
    Some(Saving { ns, what, how })
}

fn often(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(", {count} times"),
    }
}
