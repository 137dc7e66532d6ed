//! Links, bridges and addresses through a netlink socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoData, InfoKind, InfoVeth,
    LinkAttribute, LinkFlags, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, MulticastGroup,
    RouteMessageBuilder,
};
use tokio::task::JoinHandle;

use crate::offloads::no_offloads;
use crate::{NetError, Relay};

/// A netlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// A virtual card to be made.
#[derive(Debug, Clone, Copy)]
pub struct VirtualCard<'a> {
    /// Its name, unique in its namespace.
    pub name: &'a str,
    /// The hardware address.
    pub mac: [u8; 6],
    /// Bytes.
    pub mtu: u32,
    /// The network namespace that it is for.
    pub namespace: BorrowedFd<'a>,
}

/// A network interface, as the kernel described it when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// At most 15 bytes.
    pub name: String,
    /// The hardware address; loopback has zeros, a few kinds have none.
    pub mac: Option<[u8; 6]>,
    /// Bytes.
    pub mtu: u32,
    /// Switched on by the administrator (not: has a carrier).
    pub up: bool,
    /// The bridge that it is a port of.
    pub controller: Option<u32>,
    /// Known to have a carrier, and to pass frames on; of kinds that cannot lose theirs this is not known.
    pub has_carrier: bool,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The task that reads a socket of changes, until this is dropped.
struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Netlink {
    /// Open a socket. Must be called inside a tokio runtime with I/O; the socket belongs to
    /// the namespace that the calling thread is in now.
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// The interface of this name.
    pub async fn link_by_name(&self, name: &str) -> Result<Link, NetError> {
        let request = self.handle.link().get().match_name(name.to_owned());
        let found = request
            .execute()
            .try_next()
            .await
            .map_err(|error| NetError::from_netlink("look up", name, error))?;
        found
            .map(|message| Link::from(&message))
            .ok_or_else(|| NetError::NoLink(format!("`{name}`")))
    }

    /// All interfaces of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetError::from_netlink("list", "interfaces", error))?;
        Ok(messages.iter().map(Link::from).collect())
    }

    /// Make a bridge and switch it on: no spanning tree and no forward delay, so that a port
    /// forwards from its first packet; no multicast snooping, which drops neighbour discovery
    /// where nobody queries; no IPv6 address of its own.
    ///
    /// `mtu` is in bytes.
    pub async fn bridge_add(&self, name: &str, mtu: u32) -> Result<Link, NetError> {
        let message = LinkBridge::new(name)
            .mtu(mtu)
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .mcast_snooping(false)
            // The builder switches it on; IPv6 autoconfiguration has to go before that.
            .down()
            .build();
        let request = self.handle.link().add(message);
        request
            .execute()
            .await
            .map_err(|error| NetError::from_netlink("make the bridge", name, error))?;
        let link = self.link_by_name(name).await?;
        self.no_autoconf(&link).await?;
        self.up(&link).await?;
        Ok(Link { up: true, ..link })
    }

    /// Make a pair of virtual cards: `port`, and one in another network namespace, which is made there: to be moved
    /// there costs it 20 ms, in which the kernel waits until none of its processors looks at it any more.
    pub async fn veth_add(&self, port: &str, card: &VirtualCard<'_>) -> Result<Link, NetError> {
        let other = LinkMessageBuilder::<LinkUnspec>::new()
            .name(card.name)
            .address(card.mac.to_vec())
            .mtu(card.mtu)
            .setns_by_fd(card.namespace.as_raw_fd())
            .build();
        self.pair_add(port, other).await
    }

    /// Make `port` a port of `bridge` without a TAP: one of a pair of virtual cards, of which the other, of this name,
    /// is relayed to and from a machine; the socket is the machine's. The relay begins when it is run.
    pub async fn relay_add(
        &self,
        port: &str,
        card: &str,
        bridge: &Link,
    ) -> Result<(Relay, OwnedFd), NetError> {
        let other = LinkMessageBuilder::<LinkUnspec>::new().name(port).build();
        let card = self.pair_add(card, other).await?;
        let made = self.relay_over(&card, port, bridge).await;
        if made.is_err() {
            let _ = self.remove(&card).await;
        }
        made
    }

    async fn relay_over(
        &self,
        card: &Link,
        port: &str,
        bridge: &Link,
    ) -> Result<(Relay, OwnedFd), NetError> {
        // What arrives at the relay is as it would be on a wire.
        no_offloads(port)?;
        self.no_autoconf(card).await?;
        // Without ARP: else it would answer for all addresses that the namespace has.
        let message = select(card).mtu(bridge.mtu).arp(false).up().build();
        self.set(message, "switch on", card).await?;
        let made = Relay::over(card.clone())?;
        let port = self.link_by_name(port).await?;
        self.port_up(&port, bridge).await?;
        for link in [card, &port] {
            self.carried(link).await?;
        }
        Ok(made)
    }

    /// Wait until an interface that is switched on, or will be, has its carrier. Each of a pair has it when both are on,
    /// and some time later, when the kernel gets to it: meanwhile, what is sent is lost, and no bridge forwards to it.
    pub async fn carried(&self, link: &Link) -> Result<(), NetError> {
        // Newer kernels (6.8) get to it when they are asked.
        if self.link_by_name(&link.name).await?.has_carrier {
            return Ok(());
        }
        let heard = rtnetlink::new_multicast_connection(&[MulticastGroup::Link]);
        let (connection, _, mut changes) = heard.map_err(NetError::Socket)?;
        let listening = Listening(tokio::spawn(connection));
        while !self.link_by_name(&link.name).await?.has_carrier {
            if changes.next().await.is_none() {
                return Err(NetError::NoLink(format!("`{}`, any more", link.name)));
            }
        }
        drop(listening);
        Ok(())
    }

    /// A pair of virtual cards: one of this name here, and the other.
    async fn pair_add(&self, name: &str, other: LinkMessage) -> Result<Link, NetError> {
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(other)))
            .build();
        let request = self.handle.link().add(message);
        request
            .execute()
            .await
            .map_err(|error| NetError::from_netlink("make the virtual card", name, error))?;
        self.link_by_name(name).await
    }

    /// Remove an interface, and what it is a pair with.
    pub async fn remove(&self, link: &Link) -> Result<(), NetError> {
        let request = self.handle.link().del(link.index);
        request
            .execute()
            .await
            .map_err(|error| NetError::from_netlink("remove", &link.name, error))
    }

    /// Make `port` a port of `bridge`, with the bridge's MTU, and switch it on. The host takes
    /// no part in the network through the port itself.
    pub async fn port_up(&self, port: &Link, bridge: &Link) -> Result<(), NetError> {
        self.no_autoconf(port).await?;
        let message = select(port)
            .mtu(bridge.mtu)
            .controller(bridge.index)
            .up()
            .build();
        self.set(message, "make a bridge's port of", port).await
    }

    /// Switch an interface on.
    pub async fn up(&self, link: &Link) -> Result<(), NetError> {
        self.set(select(link).up().build(), "switch on", link).await
    }

    /// Switch an interface off.
    pub async fn down(&self, link: &Link) -> Result<(), NetError> {
        self.set(select(link).down().build(), "switch off", link)
            .await
    }

    /// Add an address, usable at once: IPv6 without duplicate address detection, which would
    /// keep it tentative for a second.
    pub async fn address_add(
        &self,
        link: &Link,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), NetError> {
        let mut request = self.handle.address().add(link.index, address, prefix);
        if address.is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await.map_err(|error| {
            NetError::from_netlink("add the address", &on(link, address, prefix), error)
        })
    }

    /// The addresses of an interface, with prefix lengths.
    pub async fn addresses(&self, link: &Link) -> Result<Vec<(IpAddr, u8)>, NetError> {
        let request = self
            .handle
            .address()
            .get()
            .set_link_index_filter(link.index);
        let messages: Vec<_> =
            request.execute().try_collect().await.map_err(|error| {
                NetError::from_netlink("list the addresses of", &link.name, error)
            })?;
        Ok(messages
            .iter()
            .filter_map(|message| {
                let address = message
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        AddressAttribute::Address(address) => Some(*address),
                        _ => None,
                    })?;
                Some((address, message.header.prefix_len))
            })
            .collect())
    }

    /// Whether any default route exists, of either family: a way out of the namespace.
    pub async fn has_default_route(&self) -> Result<bool, NetError> {
        let requests = [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ];
        for request in requests {
            let routes: Vec<RouteMessage> = self
                .handle
                .route()
                .get(request)
                .execute()
                .try_collect()
                .await
                .map_err(|error| NetError::from_netlink("list", "routes", error))?;
            if routes.iter().any(is_default) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// No link-local address and so no router solicitation: what nobody declared must not talk.
    async fn no_autoconf(&self, link: &Link) -> Result<(), NetError> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let message = select(link)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
                vec![mode],
            )]))
            .build();
        match self
            .set(message, "switch off IPv6 autoconfiguration of", link)
            .await
        {
            // A kernel without IPv6, or with it disabled, has none to switch off.
            Err(NetError::Unsupported { .. }) => Ok(()),
            Err(NetError::Refused { source, .. }) if without_ipv6(&source) => Ok(()),
            other => other,
        }
    }

    async fn set(
        &self,
        message: LinkMessage,
        action: &'static str,
        link: &Link,
    ) -> Result<(), NetError> {
        let done = self.handle.link().set(message).execute().await;
        done.map_err(|error| NetError::from_netlink(action, &link.name, error))
    }
}

fn select(link: &Link) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_index(link.index)
}

fn without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::EAFNOSUPPORT | nix::libc::EINVAL)
    )
}

fn is_default(route: &RouteMessage) -> bool {
    let header = &route.header;
    let family = matches!(
        header.address_family,
        AddressFamily::Inet | AddressFamily::Inet6
    );
    family && header.destination_prefix_length == 0 && header.kind == RouteType::Unicast
}

fn on(link: &Link, address: IpAddr, prefix: u8) -> String {
    format!("{address}/{prefix} on {}", link.name)
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            controller: None,
            has_carrier: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::OperState(state) => link.has_carrier = *state == State::Up,
                _ => {}
            }
        }
        link
    }
}
