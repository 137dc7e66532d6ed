//! From a program to a VMM that takes calls.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attest_lab::ProcessExit;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::output::Output;
use crate::{Launched, SIGKILL, VmmError};

/// A VMM makes its API within milliseconds; what makes none for this long is none.
const APPEARS: Duration = Duration::from_secs(30);
/// Between the two system calls that make a socket and let it listen, a connection is refused. They follow each other
/// at once, so that this is hardly ever needed, and never twice but on a host that is overloaded.
const LISTENS: Duration = Duration::from_micros(200);
/// A VMM that has closed its API has ended within milliseconds; then nobody waits longer.
const ENDS: Duration = Duration::from_secs(1);

/// Sees what appears in a directory, from before the program that makes it runs.
pub(crate) struct Appearing(Option<pipe::Receiver>);

impl Drop for Appearing {
    fn drop(&mut self) {
        let inotify = self.0.take().map(pipe::Receiver::into_nonblocking_fd);
        // The kernel takes 10 ms to close one: it waits until nobody can be looking at it any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(inotify));
        }
    }
}

impl Appearing {
    pub(crate) fn in_directory(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(directory, AddWatchFlags::IN_CREATE)?;
        // Events are read as bytes: that there are some is all that counts.
        let events = pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))?;
        Ok(Self(Some(events)))
    }

    /// A connection to the socket of this path, as soon as somebody listens there.
    async fn connection(&mut self, path: &Path) -> io::Result<UnixStream> {
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let events = self.0.as_mut().expect("taken when it is dropped");
                    let _ = events.read(&mut [0; 4096]).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(LISTENS).await;
                }
                connected => return connected,
            }
        }
    }
}

/// A socket for an API that its VMM inherits, and a connection to it. Nobody has to wait until the VMM has made one.
pub(crate) fn listening(path: &Path) -> io::Result<(OwnedFd, UnixStream)> {
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    let near = std::os::unix::net::UnixStream::connect(path)?;
    near.set_nonblocking(true)?;
    Ok((listener.into(), UnixStream::from_std(near)?))
}

/// A VMM that was started and is not yet known to be one. It is ended when this is dropped.
pub(crate) struct Starting {
    machine: String,
    process: Option<Arc<dyn Launched>>,
    output: Output,
    /// As people know it.
    vmm: &'static str,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.signal(SIGKILL);
        }
    }
}

impl Starting {
    pub(crate) fn new(
        machine: &str,
        vmm: &'static str,
        process: Arc<dyn Launched>,
        output: Output,
    ) -> Self {
        Self {
            machine: machine.to_owned(),
            process: Some(process),
            output,
            vmm,
        }
    }

    fn process(&self) -> &Arc<dyn Launched> {
        self.process.as_ref().expect("taken once, at the end")
    }

    /// A connection to its API.
    pub(crate) async fn api(
        &self,
        mut appearing: Appearing,
        path: &Path,
    ) -> Result<UnixStream, VmmError> {
        let process = self.process();
        let exited = process.exited();
        tokio::select! {
            biased;
            connected = appearing.connection(path) => connected.map_err(VmmError::host(
                &self.machine,
                "the API of its VMM cannot be reached",
            )),
            exit = exited => Err(self.ended(exit).await),
            () = tokio::time::sleep(APPEARS) => Err(VmmError::NoApi {
                machine: self.machine.clone(),
                vmm: self.vmm,
                within: APPEARS,
            }),
        }
    }

    /// Why a call failed: what the VMM said, or that it has ended.
    pub(crate) async fn failure(&self, error: VmmError) -> VmmError {
        if !error.is_closed() {
            return error;
        }
        let exited = tokio::time::timeout(ENDS, self.process().exited()).await;
        match exited {
            Ok(exit) => self.ended(exit).await,
            Err(_) => error,
        }
    }

    async fn ended(&self, exit: ProcessExit) -> VmmError {
        let machine = self.machine.clone();
        let how = match exit {
            ProcessExit::LabEnded => return VmmError::LabEnded { machine },
            ProcessExit::Code(code) => format!("exit code {code}"),
            ProcessExit::Signal(signal) => format!("signal {signal}"),
        };
        self.output.at_end().await;
        VmmError::EndedEarly {
            machine,
            vmm: self.vmm,
            how,
            words: self.output.last_words(),
        }
    }

    /// It runs.
    pub(crate) fn started(mut self) -> (Arc<dyn Launched>, Output) {
        let process = self.process.take().expect("taken once");
        (process, self.output.clone())
    }
}
