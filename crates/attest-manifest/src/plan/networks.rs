//! Networks: subnets given and derived.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NetworkPlan;
use super::planner::Planner;
use crate::model::Network;
use crate::problem::{At, Part};

/// More would not fit into the byte of a MAC that tells them apart.
const NETWORKS_MAX: usize = 255;
/// The largest packet of a TAP with its Ethernet header: 65535 − 14.
const MTU_MAX: u32 = 65_521;
/// RFC 8200, section 5: IPv6 needs it of every link.
const MTU_MIN: u32 = 1280;
/// Ethernet's own.
const MTU_DEFAULT: u32 = 1500;
/// Machines that fit into a /24: 1 to 254.
const MACHINES_IN_24: usize = 254;

/// An IPv4 or IPv6 subnet: its first address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// There is no `/`, or no address before it, or no number after it.
    #[error("a subnet is an address and a prefix length, as 10.0.0.0/24")]
    Form,
    /// Bits after the prefix are set.
    #[error("this address has bits beyond its prefix; the subnet is {0}")]
    HostBits(Subnet),
}

impl Subnet {
    /// The subnet that `address` is in; `None` when the prefix is longer than the address.
    pub fn containing(address: IpAddr, prefix: u8) -> Option<Self> {
        let width = width(address);
        if prefix > width {
            return None;
        }
        let mask = u128::MAX
            .checked_shl(u32::from(width - prefix))
            .unwrap_or(0);
        Some(Self {
            address: from_bits(bits(address) & mask, address.is_ipv6()),
            prefix,
        })
    }

    /// Its first address, which no machine can have.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that all addresses of it have in common.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::containing(address, self.prefix).as_ref() == Some(self)
    }

    /// Whether they have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        let cut = |subnet: &Self| Self::containing(subnet.address, shorter);
        self.address.is_ipv6() == other.address.is_ipv6() && cut(self) == cut(other)
    }

    /// The n-th address for a machine; `None` for what no machine can have: number 0, IPv4's
    /// broadcast address, and numbers beyond the end.
    pub fn host(&self, number: u32) -> Option<IpAddr> {
        let address = from_bits(
            bits(self.address).checked_add(u128::from(number))?,
            self.address.is_ipv6(),
        );
        (self.contains(address) && self.usable(address)).then_some(address)
    }

    /// Whether a machine can have this address of the subnet.
    pub fn usable(&self, address: IpAddr) -> bool {
        let last = bits(self.address)
            | !u128::MAX
                .checked_shl(u32::from(width(address) - self.prefix))
                .unwrap_or(0);
        address != self.address && (address.is_ipv6() || bits(address) != last)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, prefix) = text.split_once('/').ok_or(SubnetError::Form)?;
        let address: IpAddr = address.parse().map_err(|_| SubnetError::Form)?;
        let prefix: u8 = prefix.parse().map_err(|_| SubnetError::Form)?;
        let subnet = Self::containing(address, prefix).ok_or(SubnetError::Form)?;
        if subnet.address == address {
            Ok(subnet)
        } else {
            Err(SubnetError::HostBits(subnet))
        }
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn from_bits(bits: u128, is_ipv6: bool) -> IpAddr {
    if is_ipv6 {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    } else {
        // What is beyond 32 bits is in no IPv4 subnet; the highest address stands for it.
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)))
    }
}

/// The default IPv4 subnet of the `number`-th network: a /24 where all machines fit into it.
fn default4(number: u8, machines: usize) -> Subnet {
    let (address, prefix) = if machines <= MACHINES_IN_24 {
        (Ipv4Addr::new(192, 168, number, 0), 24)
    } else {
        (Ipv4Addr::new(10, number, 0, 0), 16)
    };
    Subnet {
        address: address.into(),
        prefix,
    }
}

/// The default IPv6 subnet of the `number`-th network, in a unique local prefix (RFC 4193) whose
/// global identifier is `attes` in ASCII: nothing leaves the lab, so it need not be random.
fn default6(number: u8) -> Subnet {
    let address = Ipv6Addr::new(0xfd61, 0x7474, 0x6573, number.into(), 0, 0, 0, 0);
    Subnet {
        address: address.into(),
        prefix: 64,
    }
}

impl Planner<'_> {
    pub(super) fn networks(&mut self) -> Vec<NetworkPlan> {
        let file = self.file;
        let root = At::default();
        let networks = root.key("networks");
        if file.networks.len() > NETWORKS_MAX {
            let count = file.networks.len();
            let problem = networks.key_problem(format!(
                "{count} networks: a lab has at most {NETWORKS_MAX}"
            ));
            self.problems.push(problem);
            return Vec::new();
        }
        let given: Vec<_> = file
            .networks
            .iter()
            .map(|(name, network)| self.given(&networks.key(name), network))
            .collect();
        let taken: Vec<Subnet> = given
            .iter()
            .flat_map(|each| [each.0, each.1])
            .flatten()
            .collect();
        let mut plans: Vec<NetworkPlan> = Vec::with_capacity(given.len());
        for (number, ((name, network), given)) in
            (1..=u8::MAX).zip(file.networks.iter().zip(&given))
        {
            let at = networks.key(name);
            self.host_name(&at, name, "network");
            let free = |plans: &[NetworkPlan], subnet: &Subnet| {
                let earlier = plans.iter().flat_map(|plan| [&plan.subnet4, &plan.subnet6]);
                !earlier.chain(&taken).any(|other| other.overlaps(subnet))
            };
            // From its own number on, so that other networks move it only when they must.
            let numbers = || (number..=u8::MAX).chain(1..number);
            let derived4 = || {
                numbers()
                    .map(|n| default4(n, file.machines.len()))
                    .find(|each| free(&plans, each))
            };
            let derived6 = || numbers().map(default6).find(|each| free(&plans, each));
            let (Some(subnet4), Some(subnet6)) =
                (given.0.or_else(derived4), given.1.or_else(derived6))
            else {
                self.problems.push(
                    at.key_problem("no default subnet is left for this network")
                        .help("give `subnet` and `subnet6`"),
                );
                continue;
            };
            let mtu = self.mtu(&at.key("mtu"), network.mtu);
            plans.push(NetworkPlan {
                name: name.clone(),
                subnet4,
                subnet6,
                mtu,
            });
        }
        self.overlaps(&plans);
        plans
    }

    fn given(&mut self, at: &At<'_>, network: &Network) -> (Option<Subnet>, Option<Subnet>) {
        let subnet4 = network
            .subnet
            .as_ref()
            .and_then(|text| self.subnet(&at.key("subnet"), text, false));
        let subnet6 = network
            .subnet6
            .as_ref()
            .and_then(|text| self.subnet(&at.key("subnet6"), text, true));
        (subnet4, subnet6)
    }

    fn subnet(&mut self, at: &At<'_>, text: &str, is_ipv6: bool) -> Option<Subnet> {
        let example = if is_ipv6 {
            "fd00:1::/64"
        } else {
            "10.0.0.0/24"
        };
        let problem = at.problem(format!(
            "`{}` is no subnet",
            super::planner::shortened(text)
        ));
        let subnet = match text.parse::<Subnet>() {
            Ok(subnet) => subnet,
            Err(SubnetError::Form) => {
                let family = if is_ipv6 { "an IPv6" } else { "an IPv4" };
                let problem =
                    problem.label(format!("{family} address and a prefix length are needed"));
                self.problems
                    .push(problem.help(format!("write it as \"{example}\"")));
                return None;
            }
            Err(SubnetError::HostBits(subnet)) => {
                self.problems.push(
                    problem
                        .label("has bits beyond its prefix")
                        .help(format!("write \"{subnet}\"")),
                );
                return None;
            }
        };
        if subnet.address.is_ipv6() != is_ipv6 {
            let (family, key) = if is_ipv6 {
                ("IPv4", "subnet")
            } else {
                ("IPv6", "subnet6")
            };
            let problem = problem.label(format!("this is {family}"));
            self.problems
                .push(problem.help(format!("{family} subnets are given by `{key}`")));
            return None;
        }
        let first = subnet.address;
        if first.is_multicast() || first.is_loopback() || first.is_unspecified() {
            self.problems
                .push(problem.label("machines cannot have these addresses"));
            return None;
        }
        self.fits(at, subnet)
    }

    fn fits(&mut self, at: &At<'_>, subnet: Subnet) -> Option<Subnet> {
        let machines = u32::try_from(self.file.machines.len()).unwrap_or(u32::MAX);
        if subnet.host(machines.max(1)).is_some() {
            return Some(subnet);
        }
        let longest = (0..subnet.prefix).rev().find(|prefix| {
            Subnet::containing(subnet.address, *prefix)
                .is_some_and(|wider| wider.host(machines.max(1)).is_some())
        });
        let problem = at.problem(format!(
            "{subnet} has no address for machine number {machines}"
        ));
        let help =
            longest.map(|prefix| format!("a prefix of /{prefix} or shorter has enough addresses"));
        self.problems.push(
            problem
                .label("machine number n gets the n-th address")
                .maybe_help(help),
        );
        None
    }

    fn mtu(&mut self, at: &At<'_>, given: Option<u32>) -> u32 {
        let mtu = given.unwrap_or(MTU_DEFAULT);
        if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
            let reason = if mtu < MTU_MIN {
                "IPv6 needs at least 1280"
            } else {
                "a TAP takes no more than 65521"
            };
            let problem = at
                .problem(format!("an MTU of {mtu} is impossible"))
                .label(reason);
            self.problems.push(problem.help(format!(
                "write a number of bytes from {MTU_MIN} to {MTU_MAX}"
            )));
        }
        mtu
    }

    /// At most 255 networks: every pair can be looked at.
    fn overlaps(&mut self, plans: &[NetworkPlan]) {
        let root = At::default();
        let networks = root.key("networks");
        for (index, plan) in plans.iter().enumerate() {
            for other in &plans[..index] {
                let pairs = [
                    ("subnet", plan.subnet4, other.subnet4),
                    ("subnet6", plan.subnet6, other.subnet6),
                ];
                for (key, subnet, earlier) in
                    pairs.into_iter().filter(|(_, one, two)| one.overlaps(two))
                {
                    let (at, there) = (networks.key(&plan.name), networks.key(&other.name));
                    let message = format!(
                        "{subnet} of `{}` overlaps with {earlier} of `{}`",
                        plan.name, other.name
                    );
                    let problem = at
                        .key(key)
                        .problem(message)
                        .label("has addresses of both networks");
                    let problem = problem.related(there.key(key).place(), Part::Value, "the other");
                    self.problems
                        .push(problem.help("leave it out to get a free one"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("a subnet")
    }

    #[test]
    fn hosts_leave_out_the_ends() {
        let small = subnet("10.0.0.0/30");
        assert_eq!(small.host(0), None);
        assert_eq!(small.host(1), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
        assert_eq!(small.host(3), None, "broadcast");
        assert_eq!(small.host(4), None, "beyond");
        assert_eq!(subnet("255.255.255.0/24").host(4000), None);
        assert_eq!(subnet("fd00::/126").host(3), "fd00::3".parse().ok());
    }

    #[test]
    fn overlaps_are_seen_both_ways() {
        let (wide, narrow) = (subnet("10.0.0.0/8"), subnet("10.1.2.0/24"));
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
        assert!(!narrow.overlaps(&subnet("10.1.3.0/24")));
        assert!(!subnet("0.0.0.0/0").overlaps(&subnet("::/0")));
    }

    #[test]
    fn text_is_checked() {
        assert_eq!(
            "10.0.0.1/24".parse::<Subnet>(),
            Err(SubnetError::HostBits(subnet("10.0.0.0/24")))
        );
        for wrong in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "x/8",
            "10.0.0.0/-1",
            "::/129",
        ] {
            assert_eq!(wrong.parse::<Subnet>(), Err(SubnetError::Form), "{wrong}");
        }
    }
}
