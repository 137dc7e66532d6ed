//! Hybrid vsock, as both VMMs have it: a socket of the host for connections to the guest, and one of the driver's for each
//! port that the guest connects to.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::program::Tasks;

/// Fact: `CONNECT <port>\n` has at most 32 bytes; and as few as these are not looked at before.
const LONGEST: usize = 32;
const SHORTEST: usize = 10;
/// The host's ends have ports from here on.
const FIRST_PORT: u32 = 1 << 30;

/// The device.
#[derive(Debug)]
pub(crate) struct Vsock {
    path: PathBuf,
    runs: watch::Receiver<bool>,
    /// Whether the guest's driver is up.
    driver: watch::Sender<bool>,
    listeners: Mutex<HashMap<u32, Listener>>,
    resets: watch::Sender<u64>,
    /// Second descriptors of the host's ends.
    ends: Mutex<Vec<BlockingStream>>,
    next: AtomicU32,
}

#[derive(Debug)]
struct Listener {
    accepts: mpsc::UnboundedSender<UnixStream>,
    /// What the guest says first.
    says: &'static [u8],
}

impl Vsock {
    /// Make its socket. Fact: it must not exist, and is never removed.
    pub(crate) fn bind(
        path: &Path,
        runs: watch::Receiver<bool>,
        tasks: &Tasks,
    ) -> io::Result<Arc<Self>> {
        let listener = UnixListener::bind(path)?;
        let vsock = Arc::new(Self {
            path: path.to_owned(),
            runs,
            driver: watch::Sender::new(false),
            listeners: Mutex::default(),
            resets: watch::Sender::new(0),
            ends: Mutex::default(),
            next: AtomicU32::new(FIRST_PORT),
        });
        let (device, connections) = (Arc::clone(&vsock), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let device = Arc::clone(&device);
                connections.spawn(async move {
                    // Fact: refused or garbage is a plain EOF.
                    let _ = device.host_connects(stream).await;
                });
            }
        });
        Ok(vsock)
    }

    /// The guest has a driver for it.
    pub(crate) fn driver_is_up(&self) {
        self.driver.send_replace(true);
    }

    async fn host_connects(&self, mut stream: UnixStream) -> io::Result<()> {
        let port = asked_for(&mut stream).await?;
        // Fact: a CONNECT before the guest's driver is up, or while paused, hangs and is answered later.
        let (mut driver, mut runs) = (self.driver.subscribe(), self.runs.clone());
        let _ = driver.wait_for(|up| *up).await;
        let _ = runs.wait_for(|runs| *runs).await;
        let (accepts, says) = {
            let listeners = self.listeners.lock().unwrap();
            let listener = listeners
                .get(&port)
                .ok_or(io::ErrorKind::ConnectionRefused)?;
            (listener.accepts.clone(), listener.says)
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Fact: payload may follow in the same packet.
        let answer = [format!("OK {number}\n").as_bytes(), says].concat();
        stream.write_all(&answer).await?;
        self.keep(&stream)?;
        let _ = accepts.send(stream);
        Ok(())
    }

    /// The guest listens on a port.
    pub(crate) fn listen(
        &self,
        port: u32,
        says: &'static [u8],
    ) -> mpsc::UnboundedReceiver<UnixStream> {
        let (accepts, accepted) = mpsc::unbounded_channel();
        let listener = Listener { accepts, says };
        self.listeners.lock().unwrap().insert(port, listener);
        accepted
    }

    /// The guest connects to a port of the host's. Fact: that is the socket `<uds_path>_<port>`.
    pub(crate) async fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let mut path = self.path.clone().into_os_string();
        path.push(format!("_{port}"));
        let stream = UnixStream::connect(path).await?;
        self.keep(&stream)?;
        Ok(stream)
    }

    fn keep(&self, stream: &UnixStream) -> io::Result<()> {
        let end = stream.as_fd().try_clone_to_owned()?;
        self.ends.lock().unwrap().push(end.into());
        Ok(())
    }

    /// Fact: `snapshot/create` sends TRANSPORT_RESET: guest connections die, guest listeners stay. The host's ends stay
    /// open, with nobody behind them.
    pub(crate) fn transport_reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    /// Until the next reset.
    pub(crate) fn resets(&self) -> watch::Receiver<u64> {
        self.resets.subscribe()
    }

    /// The guest resets all its connections: the host's ends see the end.
    pub(crate) fn reset_by_guest(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Vsock {
    /// What a process has open is closed when it ends, whoever else of the test still has it.
    fn drop(&mut self) {
        self.reset_by_guest();
    }
}

async fn asked_for(stream: &mut UnixStream) -> io::Result<u32> {
    let mut line = vec![0; SHORTEST];
    stream.read_exact(&mut line).await?;
    while line.last() != Some(&b'\n') && line.len() < LONGEST {
        line.push(stream.read_u8().await?);
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let line = String::from_utf8(line).map_err(|_| invalid())?;
    let mut words = line.split_whitespace();
    if !words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("connect"))
    {
        return Err(invalid());
    }
    let port = words.next().ok_or_else(invalid)?;
    port.parse().map_err(|_| invalid())
}
