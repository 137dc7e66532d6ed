//! Cards of machines where there are no TAPs: a VMM reads and writes whole frames on a socket, and they are relayed
//! between that and a port of a bridge.
//!
//! No VMM takes a packet socket itself: QEMU asks every socket for an address that it knows. And a TAP is not needed
//! for a port: one of a pair of virtual cards is one, too, and the other one's frames are read from a packet socket.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, SndBuf, SndBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair,
};

use crate::ethernet::{EthernetSocket, FrameBuffer};
use crate::{Link, NetError};

/// Bytes of frames that wait for a VMM in each place where they can; about what a TAP keeps. A host's limit for
/// buffers (`net.core.rmem_max`, `wmem_max`) holds for those of the kernel, but not for the relay's own.
const WAITING: usize = 4 << 20;
/// Frames that go one way before the other has its turn.
const TURN: usize = 64;

/// What carries a machine's frames to and from its network. Its thread is that of [`Relay::run`].
#[derive(Debug)]
pub struct Relay {
    pub(crate) wire: EthernetSocket,
    pub(crate) machine: OwnedFd,
    pub(crate) card: Link,
}

/// Frames on their way to the machine.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// The machine's socket is closed.
struct Closed;

impl Relay {
    /// Over the virtual card whose pair is a port. Also the socket that is the machine's: every message is a frame,
    /// and it ends when the other end does.
    pub(crate) fn over(card: Link) -> Result<(Self, OwnedFd), NetError> {
        let wire = EthernetSocket::open(&card)?;
        // As messages, and with an end: datagrams have none.
        let (machine, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(|errno| NetError::Socket(errno.into()))?;
        for socket in [&machine, &theirs] {
            let forced = setsockopt(socket, SndBufForce, &WAITING);
            // As much as anybody may.
            let _ = forced.or_else(|_| setsockopt(socket, SndBuf, &WAITING));
        }
        let forced = setsockopt(&wire, RcvBufForce, &WAITING);
        let _ = forced.or_else(|_| setsockopt(&wire, RcvBuf, &WAITING));
        let relay = Self {
            wire,
            machine,
            card,
        };
        Ok((relay, theirs))
    }

    /// Relay until nobody has the machine's socket any more. Then the card is removed, and the port with it.
    pub fn run(self) {
        let Closed = self.relay();
        let Self { wire, card, .. } = self;
        drop(wire);
        // It is gone already where its network is.
        let _ = crate::cards::remove(&card);
    }

    fn relay(&self) -> Closed {
        let mut queue = Queue::default();
        let mut buffer = FrameBuffer::new();
        loop {
            if let Err(closed) = self.turn(&mut queue, &mut buffer) {
                return closed;
            }
        }
    }

    fn turn(&self, queue: &mut Queue, buffer: &mut FrameBuffer) -> Result<(), Closed> {
        let (of_machine, of_wire) = self.wait(queue);
        if of_machine.contains(PollFlags::POLLOUT) {
            queue.send_on(&self.machine)?;
        }
        // Its end is read, too.
        if !of_machine.difference(PollFlags::POLLOUT).is_empty() {
            self.outward(buffer)?;
        }
        if !of_wire.is_empty() {
            self.inward(buffer, queue)?;
        }
        Ok(())
    }

    /// Wait until something can be done, and say what, of the machine's socket and of the wire.
    fn wait(&self, queue: &Queue) -> (PollFlags, PollFlags) {
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, !queue.frames.is_empty());
        let is_full = queue.bytes >= WAITING;
        let of_wire = if is_full {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        let mut waits = [
            PollFd::new(self.machine.as_fd(), wanted),
            PollFd::new(self.wire.as_fd(), of_wire),
        ];
        // Interrupted, nothing is said, and all is waited for again.
        let _ = poll(&mut waits, PollTimeout::NONE);
        let [machine, wire] = waits.map(|wait| wait.revents().unwrap_or(PollFlags::empty()));
        (machine, wire)
    }

    /// From the machine.
    fn outward(&self, buffer: &mut FrameBuffer) -> Result<(), Closed> {
        for _ in 0..TURN {
            let bytes = buffer.all();
            match recv(self.machine.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(Closed),
                // What no card would send, and what a network does not take, is lost.
                Ok(length) => drop(self.wire.send(&bytes[..length])),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Closed),
            }
        }
        Ok(())
    }

    /// To the machine.
    fn inward(&self, buffer: &mut FrameBuffer, queue: &mut Queue) -> Result<(), Closed> {
        for _ in 0..TURN {
            match self.wire.receive(buffer) {
                Ok(Some(frame)) => queue.take(frame, &self.machine)?,
                Ok(None) | Err(Errno::EINTR) => {}
                // Nothing more; or its card was switched off, which is told once.
                Err(_) => break,
            }
        }
        Ok(())
    }
}

impl Queue {
    /// Send a frame, or keep it until it can be sent.
    fn take(&mut self, frame: &[u8], machine: &OwnedFd) -> Result<(), Closed> {
        if self.frames.is_empty() && sent(machine, frame)? {
            return Ok(());
        }
        if self.bytes < WAITING {
            self.bytes += frame.len();
            self.frames.push_back(frame.to_vec());
        }
        Ok(())
    }

    /// Send what was kept, as much as can be.
    fn send_on(&mut self, machine: &OwnedFd) -> Result<(), Closed> {
        while let Some(frame) = self.frames.front() {
            if !sent(machine, frame)? {
                break;
            }
            self.bytes -= frame.len();
            self.frames.pop_front();
        }
        Ok(())
    }
}

/// Whether a frame need not be sent again.
fn sent(machine: &OwnedFd, frame: &[u8]) -> Result<bool, Closed> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(machine.as_raw_fd(), frame, flags) {
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
        Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Err(Closed),
        // What has no room at all is lost.
        Ok(_) | Err(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap()
    }

    fn next(socket: &OwnedFd) -> nix::Result<u32> {
        let mut frame = [0; 2000];
        let length = recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT)?;
        assert_eq!(length, 1500);
        Ok(u32::from_ne_bytes([frame[0], frame[1], frame[2], frame[3]]))
    }

    #[test]
    fn what_waits_goes_on_in_order_and_what_finds_no_room_is_lost() {
        let (machine, theirs) = pair();
        let mut queue = Queue::default();
        let mut frame = [0; 1500];
        let mut taken = 0_u32;
        while queue.bytes < WAITING {
            frame[..4].copy_from_slice(&taken.to_ne_bytes());
            assert!(queue.take(&frame, &machine).is_ok());
            taken += 1;
        }
        frame[..4].copy_from_slice(&taken.to_ne_bytes());
        assert!(queue.take(&frame, &machine).is_ok());
        for expected in 0..taken {
            let got = match next(&theirs) {
                Err(Errno::EAGAIN) => {
                    assert!(queue.send_on(&machine).is_ok());
                    next(&theirs)
                }
                got => got,
            };
            assert_eq!(got, Ok(expected));
        }
        assert!(queue.frames.is_empty() && queue.bytes == 0);
        assert_eq!(next(&theirs), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_closed_socket_is_the_end() {
        let (machine, theirs) = pair();
        drop(theirs);
        assert!(Queue::default().take(&[0; 60], &machine).is_err());
    }
}
