//! The cards of a guest: all their settings in one message to the kernel, written by hand.
//!
//! rtnetlink, which serves the host, is a fifth of an agent and takes an emulated guest 40 ms for
//! what these few bytes say in one.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::{Link, NetError};

/// What a guest's card is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// How it is found.
    pub mac: [u8; 6],
    /// What to call it; `None` leaves the kernel's name.
    pub name: Option<String>,
    /// Bytes; `None` leaves the driver's.
    pub mtu: Option<u32>,
    /// With prefix lengths. IPv6 comes without duplicate address detection, which would keep an
    /// address tentative for a second.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Room for the kernel's answers: one of them is 36 bytes, or 20 more than what it refuses.
const ANSWERS: usize = 32 * 1024;
/// `nlmsghdr`: length (4), type (2), flags (2), sequence (4), port (4).
const HEADER: usize = 16;

/// Set MTU and addresses of these cards and switch them on.
///
/// # Errors
/// A card that is not there; then none is touched. The first that the kernel refuses.
pub fn configure(cards: &[Card]) -> Result<(), NetError> {
    if cards.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    let found = find(cards)?;
    batch.make_way(cards, &found);
    for (card, link) in cards.iter().zip(found) {
        batch.card(card, &link);
    }
    batch.carry_out()
}

/// Remove an interface, and what it is a pair with: for a thread that has no runtime.
pub(crate) fn remove(link: &Link) -> Result<(), NetError> {
    let mut batch = Batch::default();
    batch.begin(libc::RTM_DELLINK, 0, "remove", link.name.clone());
    batch.interface(link.index, 0);
    batch.end();
    batch.carry_out()
}

/// A card of this network namespace.
struct Found {
    name: String,
    index: u32,
}

fn find(cards: &[Card]) -> Result<Vec<Found>, NetError> {
    let known = links().map_err(NetError::Links)?;
    let found = cards.iter().map(|card| {
        let mac = card.mac.map(|byte| format!("{byte:02x}")).join(":");
        match known.iter().find(|(_, address)| *address == mac) {
            Some((name, _)) => number(name),
            None => Err(NetError::NoLink(format!("with the hardware address {mac}"))),
        }
    });
    found.collect()
}

/// Names and hardware addresses, as sysfs shows them.
fn links() -> io::Result<Vec<(String, String)>> {
    let mut links = Vec::new();
    for link in fs::read_dir("/sys/class/net")? {
        let link = link?;
        let name = link.file_name().to_string_lossy().into_owned();
        // One that goes meanwhile is not ours.
        let address = fs::read_to_string(link.path().join("address")).unwrap_or_default();
        links.push((name, address.trim().to_owned()));
    }
    Ok(links)
}

fn number(name: &str) -> Result<Found, NetError> {
    let index = nix::net::if_::if_nametoindex(name)
        .map_err(|error| NetError::from_errno("look up", name, error.into()))?;
    Ok(Found {
        name: name.to_owned(),
        index,
    })
}

/// Requests that the kernel carries out in order, and what each is about.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    about: Vec<(&'static str, String)>,
}

impl Batch {
    /// Cards that get the names of others, which get other names themselves, do so over names that nobody has.
    fn make_way(&mut self, cards: &[Card], found: &[Found]) {
        let is_wanted = |name: &str| cards.iter().any(|card| card.name.as_deref() == Some(name));
        for (card, link) in cards.iter().zip(found) {
            let goes = card.name.as_ref().is_some_and(|name| *name != link.name);
            if goes && is_wanted(&link.name) {
                self.rename(link, &format!("attest{}", link.index));
            }
        }
    }

    fn rename(&mut self, link: &Found, name: &str) {
        self.link(link, 0, "rename");
        let mut text = name.to_owned().into_bytes();
        text.push(0);
        self.attribute(libc::IFLA_IFNAME, &text);
        self.end();
    }

    fn card(&mut self, card: &Card, link: &Found) {
        // Set before it is switched on: older kernels do not rename one that is.
        if let Some(name) = card.name.as_ref().filter(|name| **name != link.name) {
            self.rename(link, name);
        }
        if let Some(mtu) = card.mtu {
            self.link(link, 0, "set the MTU of");
            self.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
            self.end();
        }
        for (address, prefix) in &card.addresses {
            self.address(link, *address, *prefix);
        }
        let up = u32::try_from(libc::IFF_UP).expect("a flag");
        self.link(link, up, "switch on");
        self.end();
    }

    fn link(&mut self, link: &Found, flags: u32, action: &'static str) {
        self.begin(libc::RTM_SETLINK, 0, action, link.name.clone());
        self.interface(link.index, flags);
    }

    /// `ifinfomsg`: family (1), padding (1), type (2), index (4), flags (4), which of them (4).
    fn interface(&mut self, index: u32, flags: u32) {
        self.bytes.extend([0; 4]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
    }

    /// `ifaddrmsg`: family (1), prefix length (1), flags (1), scope (1), index (4).
    fn address(&mut self, link: &Found, address: IpAddr, prefix: u8) {
        let object = format!("{address}/{prefix} on {}", link.name);
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.begin(libc::RTM_NEWADDR, flags, "add the address", object);
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        self.bytes
            .push(u8::try_from(family).expect("a small number"));
        self.bytes.extend([prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        self.bytes.extend(link.index.to_ne_bytes());
        self.attribute(libc::IFA_LOCAL, &octets);
        self.attribute(libc::IFA_ADDRESS, &octets);
        match address {
            IpAddr::V4(address) if prefix < 31 => {
                let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                let broadcast = address.to_bits() | hosts;
                self.attribute(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
            }
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => self.attribute(libc::IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes()),
        }
        self.end();
    }

    fn begin(&mut self, kind: u16, more_flags: i32, action: &'static str, object: String) {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | more_flags;
        self.about.push((action, object));
        let sequence = u32::try_from(self.about.len()).expect("a few requests");
        // Its length is known at its end.
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(
            u16::try_from(flags)
                .expect("16 bits of flags")
                .to_ne_bytes(),
        );
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
    }

    /// `nlattr`: length (2), type (2), and the value, up to a multiple of four.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("an address at most");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Put the length at the head of the last request.
    fn end(&mut self) {
        let mut start = 0;
        while let Some(length) = read_u32(&self.bytes, start).filter(|length| *length > 0) {
            start += length;
        }
        let length = u32::try_from(self.bytes.len() - start).expect("some hundred bytes");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn carry_out(self) -> Result<(), NetError> {
        let socket = netlink().map_err(|error| NetError::Socket(error.into()))?;
        let kernel = NetlinkAddr::new(0, 0);
        let talked = |error: nix::Error| NetError::Socket(error.into());
        sendto(socket.as_raw_fd(), &self.bytes, &kernel, MsgFlags::empty()).map_err(talked)?;
        let mut buffer = vec![0; ANSWERS];
        let mut answered = 0;
        while answered < self.about.len() {
            let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(talked)?;
            for (sequence, errno) in answers(&buffer[..count]) {
                answered += 1;
                let about = sequence.checked_sub(1).and_then(|at| self.about.get(at));
                if let (true, Some((action, object))) = (errno != 0, about) {
                    let error = io::Error::from_raw_os_error(errno);
                    return Err(NetError::from_errno(action, object, error));
                }
            }
        }
        Ok(())
    }
}

fn netlink() -> nix::Result<OwnedFd> {
    socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
}

/// The sequence numbers and error numbers of acknowledgements; 0 is none.
fn answers(bytes: &[u8]) -> Vec<(usize, i32)> {
    let mut answers = Vec::new();
    let mut at = 0;
    while let Some(length) = read_u32(bytes, at).filter(|length| *length >= HEADER) {
        let kind = bytes.get(at + 4..at + 6).map(|kind| [kind[0], kind[1]]);
        let is_answer =
            kind.is_some_and(|kind| i32::from(u16::from_ne_bytes(kind)) == libc::NLMSG_ERROR);
        let sequence = read_u32(bytes, at + 8);
        let error = bytes.get(at + HEADER..at + HEADER + 4);
        if let (true, Some(sequence), Some(error)) = (is_answer, sequence, error) {
            let negative = i32::from_ne_bytes(error.try_into().expect("four bytes"));
            answers.push((sequence, negative.wrapping_neg()));
        }
        at += length.next_multiple_of(4);
    }
    answers
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    let number = u32::from_ne_bytes(four.try_into().expect("four bytes"));
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_whole_and_follow_each_other() {
        let card = Card {
            mac: [2, 0, 0, 0, 0, 1],
            name: Some("lan".to_owned()),
            mtu: Some(1400),
            addresses: vec![
                ("10.0.0.1".parse().unwrap(), 8),
                ("fd00::1".parse().unwrap(), 64),
            ],
        };
        let link = Found {
            name: "eth0".to_owned(),
            index: 7,
        };
        let mut batch = Batch::default();
        batch.card(&card, &link);
        batch.card(&card, &link);
        let (mut at, mut count) = (0, 0);
        while at < batch.bytes.len() {
            let length = read_u32(&batch.bytes, at).unwrap();
            assert_eq!(read_u32(&batch.bytes, at + 8), Some(count + 1));
            assert!(length.is_multiple_of(4) && length >= HEADER + 8, "{length}");
            (at, count) = (at + length, count + 1);
        }
        assert_eq!((at, count), (batch.bytes.len(), batch.about.len()));
        let broadcast = [10, 255, 255, 255];
        assert!(batch.bytes.windows(4).any(|part| part == broadcast));
    }

    #[test]
    fn names_are_exchanged_over_others() {
        let card = |name: Option<&str>| Card {
            mac: [0; 6],
            name: name.map(str::to_owned),
            mtu: None,
            addresses: Vec::new(),
        };
        let found = ["eth0", "eth1"].map(|name| Found {
            name: name.to_owned(),
            index: 3,
        });
        let made_way = |names: [Option<&str>; 2]| {
            let mut batch = Batch::default();
            batch.make_way(&names.map(card), &found);
            let about = batch.about.into_iter().map(|(_, name)| name);
            about.collect::<Vec<_>>()
        };
        assert_eq!(made_way([Some("eth1"), Some("eth2")]), ["eth1"]);
        assert_eq!(made_way([Some("eth1"), Some("eth0")]), ["eth0", "eth1"]);
        assert_eq!(made_way([Some("eth0"), Some("eth1")]), Vec::<String>::new());
        // The kernel says so.
        assert_eq!(made_way([Some("eth1"), None]), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            answers(&bytes);
        }
    }
}
