//! Messages between driver and lab process: one datagram each, CBOR, both ends from one build.
//!
//! A datagram is at most [`MESSAGE_MAX`] bytes and [`FDS_MAX`] descriptors, so every length
//! inside it is bounded by what arrived.

use std::net::IpAddr;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// Bytes of one message. Below the default `net.core.wmem_default` of 212992, which counts the
/// kernel's bookkeeping too, so that a message fits a fresh socket's buffer.
pub(crate) const MESSAGE_MAX: usize = 160 * 1024;

/// Bytes of a message that goes by a file in memory, because it is more than a datagram holds: an
/// environment may be large. The kernel takes 6 MiB at most for a program's arguments and environment
/// (execve(2)).
pub(crate) const LARGEST: usize = 6 * 1024 * 1024;

/// Descriptors of one message; the kernel's limit is 253 (`SCM_MAX_FD`).
pub(crate) const FDS_MAX: usize = 250;

/// Driver to lab.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Request {
    /// Names the request in its answer.
    #[n(0)]
    pub(crate) id: u32,
    #[n(1)]
    pub(crate) order: Order,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Order {
    /// Make a bridge.
    #[n(0)]
    Network(#[n(0)] Network),
    /// Make a TAP on this network. The answer carries its descriptor.
    #[n(1)]
    Tap(#[n(0)] String),
    /// Run a program. The answer carries a pidfd, and the process number as credentials.
    #[n(2)]
    Spawn(#[n(0)] Program),
    /// Make a pair of virtual cards, one of them a port of this network, the other with this
    /// hardware address in the network namespace of this name.
    #[n(3)]
    Veth(#[n(0)] String, #[n(1)] [u8; 6], #[n(2)] String),
    /// Make a root of this name over the image whose descriptor the message carries. What is
    /// written goes to the file system in the second descriptor, or into memory. The answer carries
    /// its path in the lab.
    #[n(4)]
    Root(#[n(0)] String),
    /// Write what can be read from the descriptor of the message to a file of this name and mode.
    /// The answer carries its path in the lab.
    #[n(5)]
    File(#[n(0)] String, #[n(1)] u32),
    /// Make a snapshot of the image in the first descriptor, with what is written in the second.
    /// The answer carries its open device.
    #[n(6)]
    Snapshot,
    /// Make a network namespace of this name. One of this name goes, with its cards. The answer
    /// carries its path in the lab.
    #[n(7)]
    Namespace(#[n(0)] String),
    /// The request is in the file that is the first descriptor. It has the same number; the other
    /// descriptors are its own.
    #[n(8)]
    Large,
    /// Make a TAP on this network that stays until it is removed, and that this user may open, too. The
    /// answer carries its name.
    #[n(9)]
    LastingTap(#[n(0)] String, #[n(1)] Option<u32>),
    /// Remove the TAP of this name.
    #[n(10)]
    RemoveTap(#[n(0)] String),
    /// Make a directory for a program, with a name that begins so, and owned by this user,
    /// or by that of the lab. The answer
    /// carries its path in the lab, and its descriptor.
    #[n(11)]
    Directory(#[n(0)] String, #[n(1)] Option<u32>),
    /// Show the mount in the descriptor of the message, a file, under this path in the lab.
    #[n(12)]
    Show(#[n(0)] String),
    /// Remove this directory, which [`Self::Directory`] made, with all that is shown in it.
    #[n(13)]
    RemoveDirectory(#[n(0)] String),
    /// Make a port of this network without a TAP. The answer carries a socket, of whose messages each is a frame.
    #[n(14)]
    Relay(#[n(0)] String),
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Network {
    #[n(0)]
    pub(crate) name: String,
    #[n(1)]
    pub(crate) mtu: u32,
    #[n(2)]
    pub(crate) addresses: Vec<(IpAddr, u8)>,
}

/// A program. The message carries its descriptors in this order: stdin, stdout, stderr as far as
/// it has them, then those to pass.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Program {
    /// Absolute path.
    #[n(0)]
    pub(crate) path: ByteVec,
    /// With the name at the front.
    #[n(1)]
    pub(crate) args: Vec<ByteVec>,
    /// `NAME=value`.
    #[n(2)]
    pub(crate) environment: Vec<ByteVec>,
    #[n(3)]
    pub(crate) directory: ByteVec,
    #[n(4)]
    pub(crate) has_input: bool,
    #[n(5)]
    pub(crate) has_output: bool,
    /// Otherwise stderr goes where stdout goes.
    #[n(6)]
    pub(crate) has_errors: bool,
    /// Whether it takes what is passed by systemd's protocol for socket activation.
    #[n(7)]
    pub(crate) listens: bool,
    /// Whether its network is the host's.
    #[n(8)]
    pub(crate) on_host_network: bool,
    /// Whether it has a control group of its own, in a lab that has one.
    #[n(9)]
    pub(crate) own_group: bool,
}

/// Lab to driver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Report {
    /// The namespaces stand. Carries the credentials of PID 1.
    #[n(0)]
    Ready,
    /// It could not set itself up, or will not go on, and ends.
    #[n(1)]
    Failed(#[n(0)] Failure),
    /// The request was carried out; for some, with a name.
    #[n(2)]
    Done(#[n(0)] u32, #[n(1)] Option<String>),
    /// It was not.
    #[n(3)]
    Refused(#[n(0)] u32, #[n(1)] Failure),
    /// The program of this request has ended.
    #[n(4)]
    Exited(#[n(0)] u32, #[n(1)] Ended),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Ended {
    #[n(0)]
    Code(#[n(0)] i32),
    #[n(1)]
    Signal(#[n(0)] i32),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Failure {
    /// A sentence without the kernel's answer.
    #[n(0)]
    pub(crate) what: String,
    /// The kernel's answer; 0 where it was not asked.
    #[n(1)]
    pub(crate) errno: i32,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>, errno: nix::errno::Errno) -> Self {
        Self {
            what: what.into(),
            errno: errno as i32,
        }
    }

    /// The error's own sentence, and the kernel's answer from its sources.
    pub(crate) fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut source = Some(error);
        let mut errno = 0;
        while let Some(error) = source {
            let io = error.downcast_ref::<std::io::Error>();
            errno = io.and_then(std::io::Error::raw_os_error).unwrap_or(errno);
            source = error.source();
        }
        Self {
            what: error.to_string(),
            errno,
        }
    }

    pub(crate) fn source(&self) -> Option<std::io::Error> {
        (self.errno != 0).then(|| std::io::Error::from_raw_os_error(self.errno))
    }
}

/// The bytes of a message.
pub(crate) fn encode<T: Encode<()>>(message: &T) -> Vec<u8> {
    // Writing to a Vec cannot fail, and no type here has an encoder that can.
    minicbor::to_vec(message).expect("encoding to memory")
}

/// The message, if these bytes are exactly one.
pub(crate) fn decode<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Option<T> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let message = decoder.decode().ok()?;
    (decoder.position() == bytes.len()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = ByteVec> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(ByteVec::from)
    }

    fn order() -> impl Strategy<Value = Order> {
        let network = (
            ".*",
            any::<u32>(),
            proptest::collection::vec(any::<(IpAddr, u8)>(), 0..4),
        )
            .prop_map(|(name, mtu, addresses)| {
                Order::Network(Network {
                    name,
                    mtu,
                    addresses,
                })
            });
        let many = || proptest::collection::vec(bytes(), 0..5);
        let program = (bytes(), many(), many(), bytes(), any::<[bool; 6]>()).prop_map(
            |(path, args, environment, directory, flags)| {
                let [
                    has_input,
                    has_output,
                    has_errors,
                    listens,
                    on_host_network,
                    own_group,
                ] = flags;
                Order::Spawn(Program {
                    path,
                    args,
                    environment,
                    directory,
                    has_input,
                    has_output,
                    has_errors,
                    listens,
                    on_host_network,
                    own_group,
                })
            },
        );
        let veth = (".*", any::<[u8; 6]>(), ".*")
            .prop_map(|(network, mac, namespace)| Order::Veth(network, mac, namespace));
        let file = (".*", any::<u32>()).prop_map(|(name, mode)| Order::File(name, mode));
        let named = prop_oneof![
            ".*".prop_map(Order::Tap),
            ".*".prop_map(Order::Relay),
            ".*".prop_map(Order::Root),
            ".*".prop_map(Order::Namespace),
            (".*", any::<Option<u32>>())
                .prop_map(|(network, owner)| Order::LastingTap(network, owner)),
            ".*".prop_map(Order::RemoveTap),
            (".*", any::<Option<u32>>()).prop_map(|(name, owner)| Order::Directory(name, owner)),
            ".*".prop_map(Order::Show),
            ".*".prop_map(Order::RemoveDirectory),
            Just(Order::Snapshot),
            Just(Order::Large)
        ];
        prop_oneof![network, named, program, veth, file]
    }

    proptest! {
        #[test]
        fn a_request_survives_the_way(id: u32, order in order()) {
            let request = Request { id, order };
            prop_assert_eq!(decode::<Request>(&encode(&request)), Some(request));
        }

        #[test]
        fn a_cut_or_prolonged_request_is_refused(id: u32, order in order(), cut: proptest::sample::Index) {
            let mut bytes = encode(&Request { id, order });
            prop_assert_eq!(decode::<Request>(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(decode::<Request>(&bytes), None);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Report>(&bytes);
        }
    }
}
