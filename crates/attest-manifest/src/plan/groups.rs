//! Which machines can talk to each other, and what of a lab a test needs.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::{ActionPlan, LabPlan, MachinePlan, SetupKind, SetupPlan, StepPlan, TestKind, TestPlan};
use crate::model::{Backend, Isolation};

/// Machines that can talk to each other, directly or through others of them, and to none else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineGroup {
    /// At least one, in the manifest's order.
    pub machines: Vec<String>,
    /// The networks that they are on, in the manifest's order.
    pub networks: Vec<String>,
}

/// The machines that a test uses, with its set-ups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineUse {
    /// All, or nobody knows which: scripts and Rust may use any.
    All,
    /// Those that steps name; at least one, each once, in the manifest's order.
    Named(Vec<String>),
}

/// Where machines meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Meeting<'a> {
    Network(&'a str),
    /// On networks that are not the lab's, of which nothing is known.
    Elsewhere,
}

impl MachinePlan {
    fn meetings(&self) -> impl Iterator<Item = Meeting<'_>> {
        let is_elsewhere = self.backend == Backend::Ssh || self.backend.is_script();
        let networks = self
            .cards
            .iter()
            .map(|card| Meeting::Network(&card.network));
        networks
            .chain(is_elsewhere.then_some(Meeting::Elsewhere))
            .filter(|_| !self.independent)
    }
}

impl LabPlan {
    /// The machines by who can talk to whom, in the manifest's order of their first machines.
    /// Every machine is in one group. An [independent](MachinePlan::independent) one is alone in
    /// its own; those with networks of their own (hosts over ssh, start scripts) are taken to
    /// reach each other.
    pub fn groups(&self) -> Vec<MachineGroup> {
        // Each machine points to another of its group, and one of the group to itself.
        let mut points: Vec<usize> = (0..self.machines.len()).collect();
        let mut met: HashMap<Meeting<'_>, usize> = HashMap::new();
        for (index, machine) in self.machines.iter().enumerate() {
            for meeting in machine.meetings() {
                let other = *met.entry(meeting).or_insert(index);
                let (one, other) = (end(&mut points, index), end(&mut points, other));
                points[one] = other;
            }
        }
        let mut groups: IndexMap<usize, Vec<&MachinePlan>> = IndexMap::new();
        for (index, machine) in self.machines.iter().enumerate() {
            let group = groups.entry(end(&mut points, index)).or_default();
            group.push(machine);
        }
        groups
            .into_values()
            .map(|group| self.group(&group))
            .collect()
    }

    fn group(&self, machines: &[&MachinePlan]) -> MachineGroup {
        let cards = machines.iter().flat_map(|machine| &machine.cards);
        let on: HashSet<&str> = cards.map(|card| card.network.as_str()).collect();
        let networks = self.networks.iter().map(|network| &network.name);
        MachineGroup {
            machines: machines
                .iter()
                .map(|machine| machine.name.clone())
                .collect(),
            networks: networks
                .filter(|name| on.contains(name.as_str()))
                .cloned()
                .collect(),
        }
    }

    /// The machines that a test and its set-ups use. Steps use those that they name. A test that
    /// names none is about the boot of all.
    pub fn machines_of(&self, test: &TestPlan) -> MachineUse {
        let chain = test.setup.as_deref().map(|name| self.setup_chain(name));
        match named(test.kind.steps(), &chain.unwrap_or_default()) {
            Some(named) if !named.is_empty() => {
                let machines = self.machines.iter().map(|machine| &machine.name);
                let used = machines.filter(|name| named.contains(name.as_str()));
                MachineUse::Named(used.cloned().collect())
            }
            _ => MachineUse::All,
        }
    }

    /// The groups that must be there for a test: those of the machines that it uses. All of them
    /// where tests [share](Isolation::Shared) one lab.
    pub fn groups_of(&self, test: &TestPlan) -> Vec<MachineGroup> {
        let mut groups = self.groups();
        if self.isolation == Isolation::Shared {
            return groups;
        }
        if let MachineUse::Named(used) = self.machines_of(test) {
            let used: HashSet<&String> = used.iter().collect();
            groups.retain(|group| group.machines.iter().any(|name| used.contains(name)));
        }
        groups
    }

    /// The same lab with only these machines, the networks that they are on, and the set-ups and
    /// tests that need no others. What stays is as it was: numbers, MACs, addresses. With all
    /// machines nothing is left out; names that the lab has not are passed over.
    #[must_use]
    pub fn only(&self, machines: &[impl AsRef<str>]) -> Self {
        let kept: HashSet<&str> = machines.iter().map(AsRef::as_ref).collect();
        let mut plan = self.clone();
        plan.machines
            .retain(|machine| kept.contains(machine.name.as_str()));
        if plan.machines.len() == self.machines.len() {
            return plan;
        }
        let cards = plan.machines.iter().flat_map(|machine| &machine.cards);
        let on: HashSet<&str> = cards.map(|card| card.network.as_str()).collect();
        plan.networks
            .retain(|network| on.contains(network.name.as_str()));
        plan.setups.retain(|setup| {
            let chain = self.setup_chain(&setup.name);
            named(setup.kind.steps(), &chain).is_some_and(|named| named.is_subset(&kept))
        });
        plan.tests.retain(|test| match self.machines_of(test) {
            MachineUse::All => false,
            MachineUse::Named(used) => used.iter().all(|name| kept.contains(name.as_str())),
        });
        plan
    }

    /// The lab that a test runs on: [`Self::only`] the machines of [`Self::groups_of`] it.
    #[must_use]
    pub fn for_test(&self, test: &TestPlan) -> Self {
        let groups = self.groups_of(test);
        let machines: Vec<&String> = groups.iter().flat_map(|group| &group.machines).collect();
        self.only(&machines)
    }
}

impl TestKind {
    /// The steps, where it is made of steps.
    pub fn steps(&self) -> Option<&[StepPlan]> {
        match self {
            Self::Steps(steps) => Some(steps),
            Self::Script(_) | Self::Rust(_) => None,
        }
    }
}

impl SetupKind {
    /// The steps, where it is made of steps.
    pub fn steps(&self) -> Option<&[StepPlan]> {
        match self {
            Self::Steps(steps) => Some(steps),
            Self::Script(_) => None,
        }
    }
}

/// The machine of the same group that points to itself. The way there is shortened, so that many
/// machines cost no more than they are.
fn end(points: &mut [usize], mut index: usize) -> usize {
    while points[index] != index {
        points[index] = points[points[index]];
        index = points[index];
    }
    index
}

/// The machines that steps and set-ups name; `None` when one of them is no list of steps.
fn named<'a>(steps: Option<&'a [StepPlan]>, setups: &[&'a SetupPlan]) -> Option<HashSet<&'a str>> {
    let setups = setups.iter().map(|setup| setup.kind.steps());
    let mut names = HashSet::new();
    for steps in setups.chain([steps]) {
        add_names(steps?, &mut names);
    }
    Some(names)
}

fn add_names<'a>(steps: &'a [StepPlan], names: &mut HashSet<&'a str>) {
    for step in steps {
        names.extend(step.machines.iter().map(String::as_str));
        if let ActionPlan::Parallel(steps) = &step.action {
            add_names(steps, names);
        }
    }
}
