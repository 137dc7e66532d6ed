//! What connects machines to the networks of their lab: made when they start, or ahead of that.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use attest_lab::{LabError, LabProcess};
use attest_manifest::{Backend, LabPlan, MachinePlan};
use attest_vmm::Wire;

use super::{Backends, Way};

/// Of machines that have not been started yet, by their names. Each is for one start.
#[derive(Debug, Default)]
pub(crate) struct Wires(Mutex<HashMap<String, Wired>>);

#[derive(Debug)]
enum Wired {
    Qemu(Vec<Wire>),
    /// The path of its network, in the lab.
    Container(PathBuf),
}

impl Wires {
    /// Of all machines of a plan whose backend takes them ready.
    pub(super) async fn of(
        process: &LabProcess,
        plan: &LabPlan,
        backends: &Backends,
    ) -> Result<Self, LabError> {
        let mut all = HashMap::new();
        for machine in &plan.machines {
            let wired = match machine.backend {
                Backend::Qemu => {
                    // What is wrong with it is told when the machine starts.
                    let Ok(way) = backends.way_of(machine) else {
                        continue;
                    };
                    Wired::Qemu(of_qemu(process, machine, way).await?)
                }
                Backend::Nspawn => Wired::Container(of_container(process, machine).await?),
                _ => continue,
            };
            all.insert(machine.name.clone(), wired);
        }
        Ok(Self(Mutex::new(all)))
    }

    pub(super) fn take_qemu(&self, machine: &str) -> Option<Vec<Wire>> {
        match self.take(machine)? {
            Wired::Qemu(wires) => Some(wires),
            Wired::Container(_) => None,
        }
    }

    pub(super) fn take_container(&self, machine: &str) -> Option<PathBuf> {
        match self.take(machine)? {
            Wired::Container(network) => Some(network),
            Wired::Qemu(_) => None,
        }
    }

    fn take(&self, machine: &str) -> Option<Wired> {
        self.0
            .lock()
            .expect("nobody panics with it")
            .remove(machine)
    }
}

/// New ones, in the order of its cards.
pub(super) async fn of_qemu(
    process: &LabProcess,
    machine: &MachinePlan,
    way: Option<Way>,
) -> Result<Vec<Wire>, LabError> {
    let mut wires = Vec::with_capacity(machine.cards.len());
    for card in &machine.cards {
        wires.push(match way.unwrap_or(Way::Taps) {
            Way::Taps => Wire::Tap(process.tap(&card.network).await?),
            Way::Frames => Wire::Frames(process.relay(&card.network).await?),
        });
    }
    Ok(wires)
}

/// With new cards, as after every reset; a path in the lab.
pub(super) async fn of_container(
    process: &LabProcess,
    machine: &MachinePlan,
) -> Result<PathBuf, LabError> {
    let network = process.namespace(&machine.name).await?;
    for card in &machine.cards {
        process.veth(&card.network, card.mac, &machine.name).await?;
    }
    Ok(network)
}
