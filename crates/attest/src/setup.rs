//! What a machine is told about itself after each boot.

use std::time::{SystemTime, UNIX_EPOCH};

use attest_manifest::{Backend, LabPlan, MachinePlan};
use attest_protocol::message::{HostEntry, Interface, RawBytes, Setup};

/// Bytes of the host's randomness given to each guest: a TCG guest without a hardware source
/// would otherwise start with next to none. 64 is the size of the kernel's pool.
const ENTROPY: usize = 64;

/// The set-up of one machine, without what must be fresh.
pub(crate) fn plan(lab: &LabPlan, machine: &MachinePlan) -> Setup {
    // A host that runs already, and one that others made, keep their own name and names.
    let is_ours = machine.backend != Backend::Ssh && !machine.backend.is_script();
    Setup {
        hostname: if is_ours {
            machine.name.clone()
        } else {
            String::new()
        },
        hosts: if is_ours {
            hosts(lab, machine)
        } else {
            Vec::new()
        },
        interfaces: machine
            .cards
            .iter()
            .enumerate()
            .map(|(index, card)| interface(lab, machine, index, card))
            .collect(),
        environment: machine
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        clock_ns: 0,
        entropy: None,
    }
}

/// Add what must be fresh: the wall clock and entropy.
pub(crate) fn freshen(mut setup: Setup) -> Setup {
    setup.clock_ns = wall_clock_ns();
    let mut entropy = [0; ENTROPY];
    // Without it the guest only waits longer for its own.
    if getrandom::fill(&mut entropy).is_ok() {
        setup.entropy = Some(RawBytes::from(entropy.to_vec()));
    }
    setup
}

/// The host's wall clock, nanoseconds since 1970.
pub(crate) fn wall_clock_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Every machine's addresses, as one machine should try them: those on its own networks first,
/// and IPv4 first among them, for busybox's and musl's resolvers take the first line that fits.
fn hosts(lab: &LabPlan, reader: &MachinePlan) -> Vec<HostEntry> {
    let mut entries: Vec<((bool, bool), HostEntry)> = Vec::new();
    for machine in &lab.machines {
        for card in &machine.cards {
            let shared = reader.cards.iter().any(|own| own.network == card.network);
            for (address, _) in &card.addresses {
                let entry = HostEntry {
                    address: address.to_string(),
                    names: vec![
                        machine.name.clone(),
                        format!("{}.{}", machine.name, card.network),
                    ],
                };
                entries.push(((!shared, address.is_ipv6()), entry));
            }
        }
    }
    entries.sort_by_key(|(order, _)| *order);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn interface(
    lab: &LabPlan,
    machine: &MachinePlan,
    index: usize,
    card: &attest_manifest::CardPlan,
) -> Interface {
    // A virtual machine's kernel names its cards itself; a container's come with names of the lab.
    let own = || (machine.backend == Backend::Nspawn).then(|| format!("eth{index}"));
    let name = card.interface.clone().or_else(own);
    let network = lab
        .networks
        .iter()
        .find(|network| network.name == card.network);
    Interface {
        mac: card.mac,
        addresses: card
            .addresses
            .iter()
            .map(|(address, prefix)| format!("{address}/{prefix}"))
            .collect(),
        mtu: network.map_or(0, |network| network.mtu),
        name,
    }
}
