//! Ports without TAPs, against the kernel.

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::JoinHandle;

use attest_net::{Link, NetError, Netlink};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use common::in_namespace;

/// Far more than anything here takes.
const LONG: PollTimeout = PollTimeout::MAX;
/// Of an experimental type.
const TYPE: [u8; 2] = [0x88, 0xb5];
const VLAN: [u8; 4] = [0x81, 0x00, 0xa0, 0x07];
const STACKED: [u8; 4] = [0x88, 0xa8, 0x20, 0x05];
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A machine, as far as the network is concerned.
struct Machine {
    socket: OwnedFd,
    relay: JoinHandle<()>,
}

impl Machine {
    /// On this bridge, by a port of this name.
    async fn on(net: &Netlink, bridge: &Link, port: &str) -> Self {
        let card = format!("card-{port}");
        let (relay, socket) = net.relay_add(port, &card, bridge).await.unwrap();
        let relay = std::thread::spawn(move || relay.run());
        Self { socket, relay }
    }

    fn send(&self, frame: &[u8]) {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    }

    /// The next frame of [`TYPE`], whatever else there is.
    fn next(&self) -> Vec<u8> {
        self.next_of(|frame| frame.windows(2).any(|bytes| bytes == TYPE))
    }

    fn next_of(&self, is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut frame = vec![0; 70_000];
        loop {
            poll(
                &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)],
                LONG,
            )
            .unwrap();
            let length = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).unwrap();
            if is_it(&frame[..length]) {
                frame.truncate(length);
                return frame;
            }
        }
    }
}

fn frame(to: [u8; 6], from: u8, tags: &[u8], length: usize) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, from]);
    frame.extend(tags);
    frame.extend(TYPE);
    frame.extend((0..length).map(|at| at.to_le_bytes()[0]));
    frame
}

#[test]
fn frames_arrive_as_they_were_sent() {
    in_namespace("frames_arrive_as_they_were_sent", || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 65_521).await.unwrap();
        let one = Machine::on(&net, &bridge, "t0-lan").await;
        let two = Machine::on(&net, &bridge, "t1-lan").await;
        let both = [VLAN, STACKED].concat();
        for tags in [&[][..], &VLAN, &STACKED, &both] {
            for length in [46, 1500, 9000, 65_521 - tags.len()] {
                let sent = frame(EVERYBODY, 1, tags, length);
                one.send(&sent);
                assert!(two.next() == sent, "{tags:x?}, {length}");
            }
        }
        // The bridge has learnt where it is.
        let answer = frame([2, 0, 0, 0, 0, 1], 2, &[], 100);
        two.send(&answer);
        assert_eq!(one.next(), answer);
    });
}

#[test]
fn what_no_network_takes_is_lost_and_the_rest_goes_on() {
    let test = "what_no_network_takes_is_lost_and_the_rest_goes_on";
    in_namespace(test, || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1500).await.unwrap();
        let one = Machine::on(&net, &bridge, "t0-lan").await;
        let two = Machine::on(&net, &bridge, "t1-lan").await;
        one.send(&[0]);
        one.send(&[0xff; 13]);
        one.send(&frame(EVERYBODY, 1, &[], 1600));
        one.send(&frame(EVERYBODY, 1, &[], 65_000));
        let sent = frame(EVERYBODY, 1, &[], 1500);
        one.send(&sent);
        assert_eq!(two.next().len(), sent.len());
        // A link that was down is the same again.
        let card = net.link_by_name("card-t1-lan").await.unwrap();
        net.down(&card).await.unwrap();
        net.up(&card).await.unwrap();
        for name in ["card-t1-lan", "t1-lan"] {
            let link = net.link_by_name(name).await.unwrap();
            net.carried(&link).await.unwrap();
        }
        let sent = frame(EVERYBODY, 1, &[], 61);
        one.send(&sent);
        assert_eq!(two.next().len(), sent.len());
    });
}

#[test]
fn a_carrier_is_waited_for() {
    in_namespace("a_carrier_is_waited_for", || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1500).await.unwrap();
        let _machine = Machine::on(&net, &bridge, "t0-lan").await;
        let card = net.link_by_name("card-t0-lan").await.unwrap();
        let port = net.link_by_name("t0-lan").await.unwrap();
        assert!(card.has_carrier && port.has_carrier);
        net.down(&card).await.unwrap();
        assert!(!net.link_by_name("t0-lan").await.unwrap().has_carrier);
        let (carried, up) = tokio::join!(net.carried(&port), async {
            // Whoever waits has begun to.
            tokio::task::yield_now().await;
            net.up(&card).await
        });
        carried.and(up).unwrap();
        assert!(net.link_by_name("t0-lan").await.unwrap().has_carrier);
    });
}

#[test]
fn a_port_goes_with_the_machines_socket() {
    in_namespace("a_port_goes_with_the_machines_socket", || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1400).await.unwrap();
        let Machine { socket, relay } = Machine::on(&net, &bridge, "t0-lan").await;
        let port = net.link_by_name("t0-lan").await.unwrap();
        assert_eq!(
            (port.up, port.mtu, port.controller),
            (true, 1400, Some(bridge.index))
        );
        for name in ["t0-lan", "card-t0-lan"] {
            let link = net.link_by_name(name).await.unwrap();
            assert_eq!(net.addresses(&link).await.unwrap(), [], "{name}");
        }
        drop(socket);
        relay.join().unwrap();
        for name in ["t0-lan", "card-t0-lan"] {
            let gone = net.link_by_name(name).await;
            assert!(matches!(gone, Err(NetError::NoLink(_))), "{gone:?}");
        }
    });
}

#[test]
fn frames_wait_for_a_machine_that_does_not_take_them() {
    let test = "frames_wait_for_a_machine_that_does_not_take_them";
    in_namespace(test, || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1500).await.unwrap();
        let one = Machine::on(&net, &bridge, "t0-lan").await;
        let two = Machine::on(&net, &bridge, "t1-lan").await;
        // More than the kernel keeps by default, and less than the relay does.
        for number in 0..2000_u16 {
            let mut sent = frame(EVERYBODY, 1, &[], 1400);
            sent[20..22].copy_from_slice(&number.to_be_bytes());
            one.send(&sent);
        }
        for number in 0..2000_u16 {
            assert_eq!(two.next()[20..22], number.to_be_bytes());
        }
    });
}

#[test]
fn what_the_host_sends_has_checksums_and_fits() {
    in_namespace("what_the_host_sends_has_checksums_and_fits", || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1500).await.unwrap();
        let address = Ipv4Addr::new(10, 1, 2, 3);
        net.address_add(&bridge, address.into(), 24).await.unwrap();
        let machine = Machine::on(&net, &bridge, "t0-lan").await;
        let socket = UdpSocket::bind((address, 9)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(&[42; 1001], "10.1.2.255:9").unwrap();
        let is_udp = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 17;
        let frame = machine.next_of(is_udp);
        assert_eq!(frame.len(), 14 + 20 + 8 + 1001);
        let datagram = &frame[34..];
        // Of addresses, protocol and length; then of all that is sent.
        let pseudo = [&frame[26..34], &[0, 17], &datagram[4..6]].concat();
        assert_ne!(datagram[6..8], [0, 0], "it has one");
        assert_eq!(sum(&pseudo, datagram), 0xffff);
    });
}

#[test]
fn the_host_answers_for_its_bridge_only_by_that() {
    in_namespace("the_host_answers_for_its_bridge_only_by_that", || async {
        let net = Netlink::open().unwrap();
        let bridge = net.bridge_add("br-lan", 1500).await.unwrap();
        let address = [10, 1, 2, 3];
        net.address_add(&bridge, address.into(), 24).await.unwrap();
        let asks = Machine::on(&net, &bridge, "t0-lan").await;
        let other = Machine::on(&net, &bridge, "t1-lan").await;
        let mut question = [&EVERYBODY[..], &[2, 0, 0, 0, 0, 1, 8, 6]].concat();
        question.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 1, 2, 9]);
        question.extend([0; 6]);
        question.extend(address);
        asks.send(&question);
        let is_answer = |frame: &[u8]| frame[12..14] == [8, 6] && frame[21] == 2;
        let answer = asks.next_of(is_answer);
        // Its address is one of its ports'.
        let bridge = net.link_by_name("br-lan").await.unwrap();
        assert_eq!(answer[6..12], bridge.mac.unwrap());
        // All that it has to say to the question is said before it forwards what comes after that.
        other.send(&frame(EVERYBODY, 2, &[], 60));
        let then = asks.next_of(|frame| is_answer(frame) || frame[12..14] == TYPE);
        assert_eq!(then[12..14], TYPE);
    });
}

/// Of all 16-bit words, in ones' complement.
fn sum(one: &[u8], two: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        let words = bytes.chunks(2);
        let word =
            |word: &[u8]| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
        words.map(word).sum()
    };
    let mut sum = words(one) + words(two);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("16 bits")
}
