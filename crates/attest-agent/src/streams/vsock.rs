//! The host over vsock(7): the agent connects to a port of it, and listens on the same port of the
//! guest, for a host that goes on with a saved machine whose connection it does not have.

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{VMADDR_CID_ANY, VMADDR_CID_HOST};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, getpeername, getsockopt,
    listen, socket,
};
use tokio::io::unix::AsyncFd;

use super::Peer;
use crate::device_events::DeviceEvents;

/// Connections that wait to be accepted: one host makes one after the other.
const BACKLOG: i32 = 4;

/// A peer over vsock.
#[derive(Debug)]
pub struct Vsock {
    cid: u32,
    port: u32,
    /// Made as soon as there is a device.
    listener: OnceCell<AsyncFd<OwnedFd>>,
}

impl Vsock {
    /// The host of this machine.
    pub fn host(port: u32) -> Self {
        Self::new(VMADDR_CID_HOST, port)
    }

    fn new(cid: u32, port: u32) -> Self {
        Self {
            cid,
            port,
            listener: OnceCell::new(),
        }
    }

    async fn connect_now(&self) -> io::Result<OwnedFd> {
        let socket = new_socket()?;
        match connect(socket.as_raw_fd(), &VsockAddr::new(self.cid, self.port)) {
            Ok(()) => return Ok(socket),
            Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        // Watched from here on: before, it would be said to be ready for writing. What is not
        // answered is given up by the kernel after two seconds (net/vmw_vsock/af_vsock.c).
        let socket = crate::async_fd::register(socket)?;
        loop {
            let mut ready = socket.writable().await?;
            let error = getsockopt(&socket, SocketError)?;
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            match getpeername::<VsockAddr>(socket.as_raw_fd()) {
                Ok(_) => break,
                Err(Errno::ENOTCONN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(socket.into_inner())
    }

    fn listen(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(listener) = self.listener.get() {
            return Ok(listener);
        }
        let socket = new_socket()?;
        bind(
            socket.as_raw_fd(),
            &VsockAddr::new(VMADDR_CID_ANY, self.port),
        )?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        let listener = crate::async_fd::register(socket)?;
        Ok(self.listener.get_or_init(|| listener))
    }

    /// A connection of the peer's, if one waits; others are none of ours.
    fn accept_from_peer(&self, listener: &OwnedFd) -> nix::Result<Option<OwnedFd>> {
        let connected = accepting::accept(listener)?;
        let from = getpeername::<VsockAddr>(connected.as_raw_fd())?;
        Ok((from.cid() == self.cid).then_some(connected))
    }
}

impl Peer for Vsock {
    fn name(&self) -> String {
        let whose = match self.cid {
            VMADDR_CID_HOST => "the host's".to_owned(),
            cid => format!("machine {cid}'s"),
        };
        format!("{whose} vsock port {}", self.port)
    }

    async fn connect(&self) -> io::Result<OwnedFd> {
        let waits = || {
            let name = self.name();
            eprintln!("attest: {name} cannot be reached without a vsock device; it is waited for");
        };
        with_device(async || self.connect_now().await, waits).await
    }

    async fn accept(&self) -> io::Result<OwnedFd> {
        let listener = with_device(async || self.listen(), || {}).await?;
        loop {
            let mut ready = listener.readable().await?;
            match ready.try_io(|listener| Ok(self.accept_from_peer(listener.get_ref())?)) {
                Ok(Ok(Some(connected))) => return Ok(connected),
                // It is gone again before it was accepted.
                Ok(Err(error)) if is_gone(&error) => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }
}

fn new_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Vsock, SockType::Stream, flags, None)
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ECONNABORTED, Errno::ECONNRESET, Errno::ENOTCONN];
    gone.into_iter()
        .any(|gone| error.raw_os_error() == Some(gone as i32))
}

/// Do it as soon as the kernel has what it takes. The driver may be loaded by the system, and the
/// device may be found, after the agent began: both are told by device events. `waits` is called
/// where they are waited for.
async fn with_device<T>(
    mut act: impl AsyncFnMut() -> io::Result<T>,
    waits: impl FnOnce(),
) -> io::Result<T> {
    let mut attempt = async || match act().await {
        Err(error) if is_missing(&error) => None,
        done => Some(done),
    };
    if let Some(done) = attempt().await {
        return done;
    }
    let events = DeviceEvents::open()?;
    // It may have come before these were listened to.
    if let Some(done) = attempt().await {
        return done;
    }
    waits();
    loop {
        events.next().await?;
        if let Some(done) = attempt().await {
            return done;
        }
    }
}

/// No driver at all, or none that has found its device.
fn is_missing(error: &io::Error) -> bool {
    let missing = [Errno::EAFNOSUPPORT, Errno::ENODEV];
    missing
        .into_iter()
        .any(|missing| error.raw_os_error() == Some(missing as i32))
}

mod accepting {
    #![expect(unsafe_code, reason = "accept4(2) gives a number")]

    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use nix::sys::socket::{SockFlag, accept4};

    pub(super) fn accept(listener: &OwnedFd) -> nix::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let accepted = accept4(listener.as_raw_fd(), flags)?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;
    use std::time::Duration;

    use nix::libc::{VMADDR_CID_LOCAL, VMADDR_PORT_ANY};
    use nix::sys::socket::getsockname;

    use super::*;

    /// Whether this host's kernel has the address family; else it is said why the test is skipped.
    fn has_vsock() -> bool {
        let missing = new_socket().err();
        if let Some(error) = missing {
            eprintln!("SKIPPED: this host has no vsock: {error}");
        }
        missing.is_none()
    }

    /// The same for connections from a host to itself.
    fn has_loopback() -> bool {
        let has = Path::new("/sys/module/vsock_loopback").exists();
        if has_vsock() && !has {
            eprintln!("SKIPPED: this host's vsock has no loopback (the module vsock_loopback)");
        }
        has
    }

    /// A port that nobody has: what the kernel gave to a socket that is closed again.
    fn free_port() -> u32 {
        let socket = new_socket().unwrap();
        let any = VsockAddr::new(VMADDR_CID_ANY, VMADDR_PORT_ANY);
        bind(socket.as_raw_fd(), &any).unwrap();
        getsockname::<VsockAddr>(socket.as_raw_fd()).unwrap().port()
    }

    #[tokio::test]
    async fn a_port_is_listened_on_once() {
        if !has_vsock() {
            return;
        }
        let first = Vsock::host(free_port());
        let listening = first.listen().unwrap().get_ref().as_raw_fd();
        assert_eq!(first.listen().unwrap().get_ref().as_raw_fd(), listening);
        let error = Vsock::host(first.port).accept().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            first.name(),
            format!("the host's vsock port {}", first.port)
        );
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_a_stranger_is_not_accepted() {
        if !has_loopback() {
            return;
        }
        let own = Vsock::new(VMADDR_CID_LOCAL, free_port());
        own.listen().unwrap();
        let near = own.connect().await.unwrap();
        let far = own.accept().await.unwrap();
        for (from, to) in [(&near, &far), (&far, &near)] {
            nix::unistd::write(from, b"hello").unwrap();
            let to = crate::async_fd::register(to.try_clone().unwrap()).unwrap();
            let _ready = to.readable().await.unwrap();
            let mut heard = [0; 5];
            nix::unistd::read(to.get_ref(), &mut heard).unwrap();
            assert_eq!(&heard, b"hello");
        }
        let nobody = Vsock::new(VMADDR_CID_LOCAL, free_port());
        let refused = nobody.connect().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionReset);

        let host = Vsock::host(free_port());
        let listener = host.listen().unwrap().get_ref();
        let stranger = Vsock::new(VMADDR_CID_LOCAL, host.port);
        let _strange = stranger.connect().await.unwrap();
        assert!(host.accept_from_peer(listener).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_device_that_is_missing_is_waited_for() {
        // The kernel says of it what is written there, as if it had happened to the device.
        let say = || std::fs::write("/sys/class/mem/null/uevent", "change");
        if let Err(error) = say() {
            return eprintln!("SKIPPED: device events cannot be made here: {error}");
        }
        let (tries, is_there) = (Cell::new(0), Cell::new(false));
        let act = async || {
            tries.set(tries.get() + 1);
            let missing = io::Error::from(Errno::ENODEV);
            is_there.get().then_some("found").ok_or(missing)
        };
        let waits = Cell::new(0);
        let found = with_device(act, || waits.set(waits.get() + 1));
        let appear = async {
            // It looks before it listens, and once more then.
            while tries.get() < 2 {
                tokio::task::yield_now().await;
            }
            is_there.set(true);
            say().unwrap();
        };
        let both = async { tokio::join!(found, appear) };
        let both = tokio::time::timeout(Duration::from_mins(1), both);
        let (found, ()) = both.await.expect("the event is heard");
        assert_eq!(found.unwrap(), "found");
        assert_eq!(waits.get(), 1);
        let act = async || Err::<(), _>(Errno::ECONNRESET.into());
        let refused = with_device(act, || panic!("there is nothing to wait for"));
        assert_eq!(
            refused.await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }
}
