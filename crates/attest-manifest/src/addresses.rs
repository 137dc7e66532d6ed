//! Subnets, addresses and MACs that the manifest leaves open.
//!
//! Machine number n (from 1, in the manifest's order) has host number n on every subnet. A card's
//! MAC is `02`, a byte and a half of hash of the lab-independent network name and the network's
//! and machine's numbers: locally administered, equal in every run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) base: IpAddr,
    pub(crate) prefix: u8,
}

impl Subnet {
    /// Read `address/prefix`; the address must be the subnet's own.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let form = || "write address/prefix, as 192.168.1.0/24".to_owned();
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let base: IpAddr = address.parse().map_err(|_| form())?;
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        let subnet = Self { base, prefix };
        if prefix > subnet.bits() {
            return Err(format!("a prefix is at most {}", subnet.bits()));
        }
        let own = subnet.network();
        if own == base { Ok(subnet) } else { Err(format!("the subnet of that address is {own}/{prefix}")) }
    }

    /// The default IPv4 subnet of network number `number`, from 1.
    pub(crate) fn default4(number: usize) -> Self {
        // Beyond 255 networks the second byte counts on, within 172.16.0.0/12.
        let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let base = if high == 0 {
            Ipv4Addr::new(192, 168, low, 0)
        } else {
            Ipv4Addr::new(172, 16 + (high & 15), low, 0)
        };
        Self { base: base.into(), prefix: 24 }
    }

    /// The default IPv6 subnet of network number `number`, from 1: a unique local one.
    pub(crate) fn default6(number: usize) -> Self {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        Self { base: Ipv6Addr::new(0xfd00, 0xa77e, 0x57, number, 0, 0, 0, 0).into(), prefix: 64 }
    }

    fn bits(self) -> u8 {
        if self.base.is_ipv4() { 32 } else { 128 }
    }

    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u32::from(address).into(),
            IpAddr::V6(address) => address.into(),
        }
    }

    fn mask(self) -> u128 {
        let host = u32::from(self.bits() - self.prefix);
        u128::MAX.checked_shl(host).unwrap_or(0)
    }

    fn network(self) -> IpAddr {
        self.address_at(0)
    }

    fn address_at(self, host: u128) -> IpAddr {
        let number = (Self::number(self.base) & self.mask()) | host;
        match self.base {
            IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number & u128::from(u32::MAX)).unwrap_or(0)).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    /// The address of host number `host`, when the subnet has room for it: neither the subnet's
    /// own address nor, for IPv4, its broadcast address.
    pub(crate) fn host(self, host: usize) -> Option<IpAddr> {
        let host = u128::try_from(host).ok()?;
        self.usable(host).then(|| self.address_at(host))
    }

    fn usable(self, host: u128) -> bool {
        let last = !self.mask() & if self.base.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
        let highest = if self.base.is_ipv4() { last.saturating_sub(1) } else { last };
        (1..=highest).contains(&host)
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4()
            && Self::number(address) & self.mask() == Self::number(self.base) & self.mask()
    }

    /// Whether a machine may have this address of the subnet.
    pub(crate) fn is_usable(self, address: IpAddr) -> bool {
        self.contains(address) && self.usable(Self::number(address) & !self.mask())
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

/// The MAC of a machine's card: `02`, then hash, network and machine, each big-endian.
pub(crate) fn mac(network: &str, network_number: usize, machine: usize) -> [u8; 6] {
    // FNV-1a, folded to a byte: small, and the same for ever.
    let hash = network.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    let [_, network_number] = u16::try_from(network_number).unwrap_or(u16::MAX).to_be_bytes();
    let [high, low] = u16::try_from(machine).unwrap_or(u16::MAX).to_be_bytes();
    [0x02, a ^ b ^ c ^ d, 0, network_number, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_a_subnet() {
        let subnet = Subnet::parse("10.1.2.0/29").unwrap();
        assert_eq!(subnet.host(1), Some("10.1.2.1".parse().unwrap()));
        assert_eq!(subnet.host(6), Some("10.1.2.6".parse().unwrap()));
        assert_eq!((subnet.host(7), subnet.host(0)), (None, None), "broadcast and network");
        assert!(!subnet.is_usable("10.1.2.7".parse().unwrap()));
        assert!(!subnet.is_usable("10.1.3.1".parse().unwrap()));
        let six = Subnet::default6(2);
        assert_eq!(six.host(3), Some("fd00:a77e:57:2::3".parse().unwrap()));
    }

    #[test]
    fn wrong_subnets_say_what_is_right() {
        assert_eq!(Subnet::parse("10.1.2.3/24").unwrap_err(), "the subnet of that address is 10.1.2.0/24");
        assert_eq!(Subnet::parse("10.0.0.0/33").unwrap_err(), "a prefix is at most 32");
        assert!(Subnet::parse("ten/8").is_err());
        assert!(Subnet::parse("10.0.0.0/8").unwrap().overlaps(Subnet::parse("10.9.0.0/16").unwrap()));
        assert!(Subnet::parse("0.0.0.0/0").unwrap().overlaps(Subnet::parse("10.9.0.0/16").unwrap()));
    }
}
