//! Network cards: MACs and addresses, and who has them already.

use std::collections::HashMap;
use std::net::IpAddr;

use super::planner::{Planner, shortened};
use super::{CardPlan, NetworkPlan, Subnet};
use crate::model::{MachineNetwork, MachineNetworkSettings};
use crate::problem::{At, Part, Place, did_you_mean};

/// Bytes of a card's name in Linux: `IFNAMSIZ` without the NUL.
const INTERFACE_MAX: usize = 15;

/// In place of an address, on a card that is to have none.
const NO_ADDRESS: &str = "none";

/// A card's place among all cards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) machine: &'a str,
    pub(super) number: u32,
    /// In the machine's list of networks; `None` when it has none and is on every network.
    pub(super) listed: Option<usize>,
}

/// Who has a MAC or address, so that a second owner is told about the first.
#[derive(Debug, Default)]
pub(super) struct Owners<'a> {
    macs: HashMap<[u8; 6], Slot<'a>>,
    addresses: HashMap<(usize, IpAddr), Slot<'a>>,
}

/// The locally administered MAC of a machine's card: `02:hh:hh:nn:mm:mm`.
fn derived_mac(network: &str, network_index: usize, machine: u32) -> [u8; 6] {
    let [hash_high, hash_low] = hash(network).to_be_bytes();
    // Both numbers were checked against these limits.
    let network = u8::try_from(network_index + 1).unwrap_or(u8::MAX);
    let [high, low] = u16::try_from(machine).unwrap_or(u16::MAX).to_be_bytes();
    [0x02, hash_high, hash_low, network, high, low]
}

/// FNV-1a, 32 bits folded to 16: it must be the same for ever, and need not be strong.
fn hash(text: &str) -> u16 {
    let full = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = full.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts
            .next()
            .filter(|part| part.len() == 2 && !part.starts_with('+'))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

impl<'a> Planner<'a> {
    pub(super) fn cards(
        &mut self,
        at: &At<'_>,
        machine: &'a str,
        number: u32,
        networks: &[NetworkPlan],
        owners: &mut Owners<'a>,
    ) -> Vec<CardPlan> {
        let file = self.file;
        let Some(listed) = file
            .machines
            .get(machine)
            .and_then(|machine| machine.networks.as_ref())
        else {
            let slot = Slot {
                machine,
                number,
                listed: None,
            };
            let default = MachineNetworkSettings::default();
            return (0..networks.len())
                .map(|index| self.card(at, slot, &networks[index], index, &default, owners))
                .collect();
        };
        let at = at.key("networks");
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut cards: Vec<CardPlan> = Vec::with_capacity(listed.len());
        for (position, entry) in listed.iter().enumerate() {
            let at = at.index(position);
            let name = entry.network();
            let Some(index) = networks.iter().position(|network| network.name == name) else {
                self.unknown_network(&at, entry);
                continue;
            };
            if let Some(first) = seen.insert(name, position) {
                let problem = at
                    .problem(format!("`{machine}` is on `{name}` twice"))
                    .label("a second card");
                let list = At::default();
                let first = list
                    .key("machines")
                    .key(machine)
                    .key("networks")
                    .index(first)
                    .place();
                self.problems
                    .push(problem.related(first, Part::Value, "the first"));
                continue;
            }
            let slot = Slot {
                machine,
                number,
                listed: Some(position),
            };
            let settings = match entry {
                MachineNetwork::Name(_) => &MachineNetworkSettings::default(),
                MachineNetwork::Settings(settings) => settings,
            };
            let card = self.card(&at, slot, &networks[index], index, settings, owners);
            let same =
                |other: &&CardPlan| other.interface.is_some() && other.interface == card.interface;
            if let Some(other) = cards.iter().find(same) {
                let problem = at.key("interface").problem(format!(
                    "the card on `{}` has this name, too",
                    shortened(&other.network)
                ));
                self.problems.push(problem.help("give each its own"));
            }
            cards.push(card);
        }
        cards
    }

    fn interface(&mut self, at: &At<'_>, name: Option<&String>) -> Option<String> {
        let name = name?;
        // As Linux's dev_valid_name has it.
        let illegal = |each: char| each.is_whitespace() || each.is_control() || "/:".contains(each);
        let is_dots = matches!(name.as_str(), "." | "..");
        if name.is_empty() || name.len() > INTERFACE_MAX || is_dots || name.contains(illegal) {
            let problem = at.problem(format!("`{}` is no name of a card", shortened(name)));
            let rule = format!("at most {INTERFACE_MAX} bytes, without spaces, `/` and `:`");
            self.problems.push(problem.label(rule));
        }
        Some(name.clone())
    }

    fn unknown_network(&mut self, at: &At<'_>, entry: &MachineNetwork) {
        let name = entry.network();
        let known = self.file.networks.keys().map(String::as_str);
        if known.clone().any(|known| known == name) {
            return; // It has problems of its own, which were reported.
        }
        let help = did_you_mean(name, "the networks are", known)
            .unwrap_or_else(|| format!("declare it: `[networks.{}]`", shortened(name)));
        let table_at = at.key("network");
        let at = if matches!(entry, MachineNetwork::Settings(_)) {
            &table_at
        } else {
            at
        };
        let problem = at.problem(format!("there is no network `{}`", shortened(name)));
        self.problems
            .push(problem.label("not in `[networks]`").help(help));
    }

    fn card(
        &mut self,
        at: &At<'_>,
        slot: Slot<'a>,
        network: &NetworkPlan,
        index: usize,
        settings: &MachineNetworkSettings,
        owners: &mut Owners<'a>,
    ) -> CardPlan {
        let mac = match &settings.mac {
            Some(text) => self.mac(&at.key("mac"), text),
            None => None,
        };
        let mac = mac.unwrap_or_else(|| derived_mac(&network.name, index, slot.number));
        if let Some(owner) = owners.macs.insert(mac, slot) {
            let text = mac.map(|byte| format!("{byte:02x}")).join(":");
            self.collision(slot, owner, "mac", &format!("MAC address {text}"));
        }
        let families = [
            ("address", settings.address.as_ref(), network.subnet4),
            ("address6", settings.address6.as_ref(), network.subnet6),
        ];
        let mut addresses = Vec::with_capacity(families.len());
        for (key, given, subnet) in families {
            if given.is_some_and(|given| given == NO_ADDRESS) {
                continue;
            }
            let given = given.and_then(|text| self.address(&at.key(key), text, subnet));
            let Some(address) = given.or_else(|| subnet.host(slot.number)) else {
                continue;
            };
            if let Some(owner) = owners.addresses.insert((index, address), slot) {
                self.collision(slot, owner, key, &format!("address {address}"));
            }
            addresses.push((address, subnet.prefix()));
        }
        CardPlan {
            network: network.name.clone(),
            mac,
            addresses,
            interface: self.interface(&at.key("interface"), settings.interface.as_ref()),
            rate: self.rate(&at.key("rate"), settings.rate),
        }
    }

    fn mac(&mut self, at: &At<'_>, text: &str) -> Option<[u8; 6]> {
        let problem = |label: &str| {
            let problem = at.problem(format!("`{}` is no MAC address of a card", shortened(text)));
            problem
                .label(label)
                .help("write six bytes in hexadecimal, as \"02:00:00:00:00:01\"")
        };
        let Some(mac) = parse_mac(text) else {
            self.problems
                .push(problem("six pairs of hexadecimal digits are needed"));
            return None;
        };
        if mac == [0; 6] || mac[0] & 1 == 1 {
            self.problems.push(problem(
                "this is the zero, the broadcast or a multicast address",
            ));
            return None;
        }
        Some(mac)
    }

    fn address(&mut self, at: &At<'_>, text: &str, subnet: Subnet) -> Option<IpAddr> {
        let example = subnet
            .host(10)
            .or_else(|| subnet.host(1))
            .unwrap_or(subnet.address());
        let problem = |label: String| {
            let problem = at.problem(format!("`{}` cannot be an address here", shortened(text)));
            problem
                .label(label)
                .help(format!("write an address of {subnet}, as \"{example}\""))
        };
        let Ok(address) = text.parse::<IpAddr>() else {
            let without = "an address without prefix length is needed".to_owned();
            self.problems.push(problem(without));
            return None;
        };
        if address.is_ipv6() && subnet.address().is_ipv4() {
            let problem =
                problem("this is IPv6".to_owned()).help("IPv6 addresses are given by `address6`");
            self.problems.push(problem);
        } else if !subnet.contains(address) {
            self.problems.push(problem(format!("not in {subnet}")));
        } else if !subnet.usable(address) {
            let kind = if address == subnet.address() {
                "network's own"
            } else {
                "broadcast"
            };
            self.problems.push(problem(format!("the {kind} address")));
        } else {
            return Some(address);
        }
        None
    }

    fn collision(&mut self, slot: Slot<'a>, owner: Slot<'a>, key: &str, what: &str) {
        let (place, part, given) = self.spot(slot, key);
        let (other_place, other_part, other_given) = self.spot(owner, key);
        let root = At::default();
        let owners = if owner.machine == slot.machine {
            format!("two cards of `{}`", slot.machine)
        } else {
            format!("`{}` and `{}`", owner.machine, slot.machine)
        };
        let problem = root.problem(format!("{owners} have the same {what}"));
        let says = |given: bool, number: u32| {
            if given {
                "given here".to_owned()
            } else {
                format!("derived for machine number {number}")
            }
        };
        let count = self.file.machines.len();
        let help = if key == "mac" {
            "leave one out: derived MAC addresses never collide with each other".to_owned()
        } else {
            format!(
                "leave it out, or take a number above {count}: 1 to {count} are those of the machines"
            )
        };
        let mut problem = problem
            .label(says(given, slot.number))
            .related(other_place, other_part, says(other_given, owner.number))
            .help(help);
        (problem.place, problem.part) = (place, part);
        self.problems.push(problem);
    }

    /// Where a card's MAC or address comes from, and whether it is given there.
    fn spot(&self, slot: Slot<'_>, key: &str) -> (Place, Part, bool) {
        let root = At::default();
        let machines = root.key("machines");
        let machine = machines.key(slot.machine);
        let networks = machine.key("networks");
        let Some(position) = slot.listed else {
            return (machine.place(), Part::Key, false);
        };
        let entry = networks.index(position);
        let listed = self
            .file
            .machines
            .get(slot.machine)
            .and_then(|machine| machine.networks.as_ref());
        let given = match listed.and_then(|listed| listed.get(position)) {
            Some(MachineNetwork::Settings(settings)) => match key {
                "mac" => settings.mac.is_some(),
                "address" => settings.address.is_some(),
                _ => settings.address6.is_some(),
            },
            _ => false,
        };
        if given {
            (entry.key(key).place(), Part::Value, true)
        } else {
            (entry.place(), Part::Value, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_local_and_stay_the_same() {
        // A change here changes the MACs of every lab that exists.
        assert_eq!(derived_mac("lan", 0, 1), [0x02, 0xd6, 0x70, 1, 0, 1]);
        assert_eq!(parse_mac("02:00:00:00:00:fF"), Some([2, 0, 0, 0, 0, 255]));
        for wrong in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "2:0:0:0:0:0",
            "02-00-00-00-00-00",
            "+2:00:00:00:00:00",
        ] {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
    }
}
