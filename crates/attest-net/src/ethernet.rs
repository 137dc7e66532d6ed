//! Whole frames from and to a network interface, through a packet socket.
#![expect(
    unsafe_code,
    reason = "packet sockets: their addresses, options and control messages have no safe wrappers"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket};

use crate::{Link, NetError};

/// The tag of a VLAN: what follows is of it, and its number.
const TAG: usize = 4;
/// Where a tag is in a frame: behind both addresses.
const TAG_AT: usize = 12;
/// The longest frame without a tag: the largest packet of any interface (`IP_MAX_MTU`), and its Ethernet header.
const LONGEST: usize = 65_535 + 14;

/// What a frame is read into.
#[derive(Debug)]
pub(crate) struct FrameBuffer(Vec<u8>);

impl FrameBuffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; TAG + LONGEST + TAG])
    }

    /// All of it, for who reads frames from elsewhere.
    pub(crate) fn all(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// What an interface receives, and a way to send through it.
#[derive(Debug)]
pub(crate) struct EthernetSocket(OwnedFd);

impl EthernetSocket {
    /// Of this interface alone, from now on.
    pub(crate) fn open(link: &Link) -> Result<Self, NetError> {
        // Until it is bound it receives nothing: it is of no protocol.
        let opened = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        );
        let this = Self(opened.map_err(|errno| NetError::Packets(errno.into()))?);
        let failed = |errno: Errno| {
            NetError::from_errno("read the frames of", &link.name, io::Error::from(errno))
        };
        // A tag that the kernel took off is told apart.
        this.switch_on(libc::PACKET_AUXDATA).map_err(failed)?;
        // Nothing else is sent through it; kernels before 4.20 do not know this.
        let _ = this.switch_on(libc::PACKET_IGNORE_OUTGOING);
        this.bind(link.index).map_err(failed)?;
        Ok(this)
    }

    fn switch_on(&self, option: libc::c_int) -> nix::Result<()> {
        let on: libc::c_int = 1;
        let length = size_of::<libc::c_int>();
        // SAFETY: both options are an int; `on` is one, alive for the call, and the socket is open.
        let answer = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                (&raw const on).cast(),
                socklen(length),
            )
        };
        Errno::result(answer).map(drop)
    }

    fn bind(&self, interface: u32) -> nix::Result<()> {
        let every = u16::try_from(libc::ETH_P_ALL).expect("a number of two bytes");
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).expect("a small number"),
            sll_protocol: every.to_be(),
            sll_ifindex: i32::try_from(interface).map_err(|_| Errno::ENODEV)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: `address` is a whole `sockaddr_ll` of this length, alive for the call, and the socket is open.
        let answer = unsafe {
            libc::bind(
                self.0.as_raw_fd(),
                (&raw const address).cast(),
                socklen(size_of::<libc::sockaddr_ll>()),
            )
        };
        Errno::result(answer).map(drop)
    }

    /// The next frame, as it was on the wire; it does not wait for one. `None`: one that is longer than any may be.
    pub(crate) fn receive<'b>(
        &self,
        buffer: &'b mut FrameBuffer,
    ) -> nix::Result<Option<&'b mut [u8]>> {
        let mut control = Control::default();
        let bytes = &mut buffer.0;
        let mut part = libc::iovec {
            iov_base: bytes[TAG..].as_mut_ptr().cast(),
            iov_len: bytes.len() - TAG,
        };
        let mut message = libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: &raw mut part,
            msg_iovlen: 1,
            msg_control: (&raw mut control).cast(),
            msg_controllen: size_of::<Control>() as _,
            msg_flags: 0,
        };
        // SAFETY: `message` points to one part, which is within `bytes`, and to `control`, with their lengths; all are
        // alive for the call and nobody else's, and the socket is open.
        let length =
            unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let length = usize::try_from(Errno::result(length)?).expect("not negative");
        if message.msg_flags & libc::MSG_TRUNC != 0 || length < TAG_AT {
            return Ok(None);
        }
        let Some(tag) = control.tag() else {
            return Ok(Some(&mut bytes[TAG..TAG + length]));
        };
        bytes.copy_within(TAG..TAG + TAG_AT, 0);
        bytes[TAG_AT..TAG_AT + TAG].copy_from_slice(&tag);
        Ok(Some(&mut bytes[..TAG + length]))
    }

    /// Send a frame through the interface; it is gone then, or lost, as frames are.
    pub(crate) fn send(&self, frame: &[u8]) -> nix::Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty()).map(drop)
    }
}

impl AsFd for EthernetSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Room for the one control message of a packet: its header, and what is known of the packet.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    data: libc::tpacket_auxdata,
}

impl Default for Control {
    fn default() -> Self {
        // SAFETY: both are plain numbers, of which zero is a value.
        unsafe { std::mem::zeroed() }
    }
}

impl Control {
    /// The tag that the kernel took off the frame.
    fn tag(&self) -> Option<[u8; TAG]> {
        let Self { header, data } = self;
        // There is room for all of it, so that it is whole; without one, both are zero.
        let is_told =
            (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA);
        if !is_told || data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let kind = if data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
            u16::try_from(libc::ETH_P_8021Q).expect("a number of two bytes")
        } else {
            data.tp_vlan_tpid
        };
        let [[a, b], [c, d]] = [kind.to_be_bytes(), data.tp_vlan_tci.to_be_bytes()];
        Some([a, b, c, d])
    }
}

fn socklen(length: usize) -> libc::socklen_t {
    length.try_into().expect("some bytes")
}
