//! Against the kernel, in a network namespace of its own. Threads have their own network
//! namespace, so each test makes one for its thread and leaves nothing.

mod common;

use std::net::IpAddr;

use attest_net::{Card, NetError, Netlink, VnetHeader, configure, tap};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

use common::in_namespace;

#[test]
fn a_bridge_with_a_port() {
    in_namespace("a_bridge_with_a_port", || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1400).await.unwrap();
        assert!(bridge.up);
        let queue = tap("t0-lan", VnetHeader::Yes).unwrap();
        let port = net.link_by_name("t0-lan").await.unwrap();
        net.port_up(&port, &bridge).await.unwrap();

        let port = net.link_by_name("t0-lan").await.unwrap();
        assert_eq!(
            (port.up, port.mtu, port.controller),
            (true, 1400, Some(bridge.index))
        );
        assert_eq!(
            net.addresses(&port).await.unwrap(),
            [],
            "nobody declared a link-local one"
        );
        assert_eq!(net.addresses(&bridge).await.unwrap(), []);

        drop(queue);
        let gone = net.link_by_name("t0-lan").await;
        assert!(matches!(gone, Err(NetError::NoLink(_))), "{gone:?}");
    });
}

#[test]
fn addresses_come_and_go() {
    in_namespace("addresses_come_and_go", || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1500).await.unwrap();
        let declared: [(IpAddr, u8); 2] = [
            ("10.1.2.3".parse().unwrap(), 24),
            ("fd00::3".parse().unwrap(), 64),
        ];
        for (address, prefix) in declared {
            net.address_add(&bridge, address, prefix).await.unwrap();
        }
        assert_eq!(net.addresses(&bridge).await.unwrap(), declared);
        // Without duplicate address detection it can be bound at once.
        std::net::TcpListener::bind(("fd00::3", 0)).unwrap();

        let again = net.address_add(&bridge, declared[0].0, 24).await;
        assert!(matches!(again, Err(NetError::Exists { .. })), "{again:?}");
    });
}

#[test]
fn a_guests_card_is_set_and_switched_on() {
    in_namespace("a_guests_card_is_set_and_switched_on", || async {
        let net = Netlink::open().unwrap();
        let _queue = tap("eth9", VnetHeader::Yes).unwrap();
        // The mounted /sys shows the namespace in which it was mounted.
        let own = mount_own_sys();
        let before = net.link_by_name("eth9").await.unwrap();
        let card = Card {
            mac: before.mac.unwrap(),
            name: Some("eth0".to_owned()),
            mtu: Some(1400),
            addresses: vec![
                ("10.1.2.3".parse().unwrap(), 24),
                ("fd00::3".parse().unwrap(), 64),
            ],
        };
        let Ok(()) = own else {
            return eprintln!("skipped: /sys cannot be mounted: {own:?}");
        };
        configure(std::slice::from_ref(&card)).unwrap();
        let link = net.link_by_name("eth0").await.unwrap();
        assert_eq!((link.up, link.mtu), (true, 1400));
        let addresses = net.addresses(&link).await.unwrap();
        for declared in &card.addresses {
            assert!(addresses.contains(declared), "{addresses:?}");
        }
        std::net::TcpListener::bind(("fd00::3", 0)).unwrap();

        let again = configure(std::slice::from_ref(&card)).unwrap_err();
        assert_eq!(
            again.to_string(),
            "cannot add the address `10.1.2.3/24 on eth0`: one of that name is there already"
        );
        let huge = Card {
            mtu: Some(70_000),
            addresses: Vec::new(),
            ..card.clone()
        };
        let refused = configure(&[huge]).unwrap_err();
        assert_eq!(refused.to_string(), "cannot set the MTU of `eth0`");
        let none = Card {
            mac: [2, 0, 0, 0, 0, 9],
            ..card
        };
        let none = configure(&[none]).unwrap_err();
        assert_eq!(
            none.to_string(),
            "no network interface with the hardware address 02:00:00:00:00:09 in this network namespace"
        );
    });
}

/// For this thread only.
fn mount_own_sys() -> nix::Result<()> {
    let nothing = None::<&str>;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    mount(
        Some("sys"),
        "/sys",
        Some("sysfs"),
        MsFlags::empty(),
        nothing,
    )
}

#[test]
fn no_way_out() {
    in_namespace("no_way_out", || async {
        let net = Netlink::open().unwrap();
        attest_net::loopback_up().unwrap();
        assert!(
            net.links()
                .await
                .unwrap()
                .iter()
                .all(|link| link.name == "lo" && link.up)
        );
        assert!(!net.has_default_route().await.unwrap());
        let refused = std::net::TcpStream::connect("192.0.2.1:9").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::NetworkUnreachable);
    });
}

#[test]
fn errors_name_the_object() {
    in_namespace("errors_name_the_object", || async {
        let net = Netlink::open().unwrap();
        net.bridge_add("br-x", 1500).await.unwrap();
        let twice = net.bridge_add("br-x", 1500).await.unwrap_err();
        assert_eq!(
            twice.to_string(),
            "cannot make the bridge `br-x`: one of that name is there already"
        );
    });
}
