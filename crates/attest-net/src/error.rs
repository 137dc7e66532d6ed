//! What can go wrong, with the object's name and what is missing.

use std::io;

/// A refused or impossible change of the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// No netlink socket.
    #[error(
        "cannot open a netlink socket; the kernel must have CONFIG_NET, and no seccomp filter may forbid AF_NETLINK"
    )]
    Socket(#[source] io::Error),
    /// The kernel does not show its interfaces.
    #[error("cannot list the network interfaces; /sys must be mounted")]
    Links(#[source] io::Error),
    /// The TUN device is absent or closed to us.
    #[error(
        "cannot open /dev/net/tun; load the kernel module `tun`, or give this user (or container) read and write access to the device"
    )]
    TunDevice(#[source] io::Error),
    /// No packet socket.
    #[error(
        "cannot open a packet socket; the kernel must have CONFIG_PACKET (module `af_packet`), and no seccomp filter \
         may forbid AF_PACKET"
    )]
    Packets(#[source] io::Error),
    /// An interface name that the kernel would not take.
    #[error(
        "`{0}` is no interface name: it must have 1 to 15 bytes, without `/`, `:` and white space"
    )]
    Name(String),
    /// The capability is missing.
    #[error(
        "not permitted to {action} `{object}`: CAP_NET_ADMIN is missing in this network namespace"
    )]
    NotPermitted {
        /// What was tried, as `make the bridge`.
        action: &'static str,
        /// Interface or address.
        object: String,
    },
    /// The kernel does not know this kind of thing.
    #[error(
        "cannot {action} `{object}`: this kernel has no support for it; load the module it names (`bridge`, `tun`, `veth`) or use a kernel that has it"
    )]
    Unsupported {
        /// What was tried.
        action: &'static str,
        /// Interface or address.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is there already.
    #[error("cannot {action} `{object}`: one of that name is there already")]
    Exists {
        /// What was tried.
        action: &'static str,
        /// Interface or address.
        object: String,
    },
    /// No such interface.
    #[error("no network interface {0} in this network namespace")]
    NoLink(String),
    /// Any other refusal.
    #[error("cannot {action} `{object}`")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// Interface or address.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The netlink library could not read an answer.
    #[error("cannot {action} `{object}`: netlink failed")]
    Netlink {
        /// What was tried.
        action: &'static str,
        /// Interface or address.
        object: String,
        /// The library's error.
        source: Box<rtnetlink::Error>,
    },
}

impl NetError {
    /// Sort the kernel's answer by what the reader has to do about it.
    pub(crate) fn from_errno(action: &'static str, object: &str, source: io::Error) -> Self {
        let object = object.to_owned();
        match source.raw_os_error() {
            Some(nix::libc::EPERM) => Self::NotPermitted { action, object },
            Some(nix::libc::EOPNOTSUPP) => Self::Unsupported {
                action,
                object,
                source,
            },
            Some(nix::libc::EEXIST) => Self::Exists { action, object },
            Some(nix::libc::ENODEV) => Self::NoLink(format!("`{object}`")),
            _ => Self::Refused {
                action,
                object,
                source,
            },
        }
    }

    pub(crate) fn from_netlink(
        action: &'static str,
        object: &str,
        error: rtnetlink::Error,
    ) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(answer) => {
                Self::from_errno(action, object, answer.to_io())
            }
            other => Self::Netlink {
                action,
                object: object.to_owned(),
                source: Box::new(other),
            },
        }
    }
}
