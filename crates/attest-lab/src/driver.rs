//! The driver's side of a lab process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use minicbor::bytes::ByteVec;
use rustix::fs::MemfdFlags;
use rustix::mount::{OpenTreeFlags, open_tree};
use tokio::sync::{oneshot, watch};

use crate::launch::{Gone, Launched, launch};
use crate::named::Named;
use crate::place::Removal;
use crate::reader::{Answer, Waiting, read};
use crate::socket::Socket;
use crate::wire::{
    FDS_MAX, Failure, LARGEST, MESSAGE_MAX, Network, Order, Program, Request, encode,
};
use crate::{Directory, LabContent, LabEnd, LabError, LastingTap, NetworkSpec, Process, Spawn};

/// A running lab process. Dropping it ends the lab.
#[derive(Debug)]
pub struct LabProcess {
    socket: Arc<Socket>,
    waiting: Arc<Waiting>,
    gone: watch::Receiver<Option<Gone>>,
    end: watch::Receiver<Option<LabEnd>>,
    next: AtomicU32,
    supervisor: u32,
    pid: u32,
}

impl LabProcess {
    /// Start the program (the bytes of the static `attest-lab`), with its networks made. One for
    /// containers has a control group of its own on the host, as long as it lives; that needs root.
    pub async fn start(
        program: &'static [u8],
        networks: &[NetworkSpec],
        content: LabContent,
    ) -> Result<Self, LabError> {
        let Launched {
            pid: supervisor,
            init,
            control,
            ended: gone,
        } = launch(program, content)?;
        let socket = Arc::new(Socket::new(control).map_err(LabError::Control)?);
        let (ready, is_ready) = oneshot::channel();
        let waiting = Arc::new(Waiting::new(ready));
        let (end_sender, end) = watch::channel(None);
        // It ends with the lab.
        tokio::spawn(read(
            Arc::clone(&socket),
            Arc::clone(&waiting),
            gone.clone(),
            end_sender,
        ));
        let next = AtomicU32::new(0);
        let mut lab = Self {
            socket,
            waiting,
            gone,
            end,
            next,
            supervisor,
            pid: 0,
        };
        lab.pid = match is_ready.await {
            Ok(Ok(pid)) => {
                init.is(pid);
                pid
            }
            Ok(Err(failure)) => {
                let source = failure.source();
                return Err(LabError::Setup {
                    what: failure.what,
                    source,
                });
            }
            Err(_) => return Err(lab.ended().await),
        };
        for network in networks {
            lab.network(network).await?;
        }
        Ok(lab)
    }

    /// A new TAP on this network, up, enslaved to the bridge, with its MTU: the open queue.
    /// With `vnet_hdr`, so that offloads work.
    pub async fn tap(&self, network: &str) -> Result<OwnedFd, LabError> {
        let answer = self
            .ask(self.id(), Order::Tap(network.to_owned()), &[])
            .await?;
        answer
            .outcome
            .map_err(|failure| refused(network, failure))?;
        answer.fds.into_iter().next().ok_or(LabError::Answer)
    }

    /// A new port of this network without a TAP, for hosts that have none: a socket of messages (`SOCK_SEQPACKET`),
    /// each of them a whole Ethernet frame, without headers for offloads. It is there as long as the socket is open.
    pub async fn relay(&self, network: &str) -> Result<OwnedFd, LabError> {
        let order = Order::Relay(network.to_owned());
        let answer = self.ask(self.id(), order, &[]).await?;
        answer
            .outcome
            .map_err(|failure| refused(network, failure))?;
        answer.fds.into_iter().next().ok_or(LabError::Answer)
    }

    /// A new TAP on this network, as [`Self::tap`] makes them, that programs of its owner open by its name; the
    /// default is the lab's user.
    pub async fn lasting_tap(
        &self,
        network: &str,
        owner: Option<u32>,
    ) -> Result<LastingTap, LabError> {
        let order = Order::LastingTap(network.to_owned(), owner);
        let answer = self.ask(self.id(), order, &[]).await?;
        answer
            .outcome
            .map_err(|failure| refused(network, failure))?;
        let name = answer.name.ok_or(LabError::Answer)?;
        let removal = self.removal(Order::RemoveTap(name.clone()));
        Ok(LastingTap::of_lab(name, removal))
    }

    /// A new directory for a program of this name and of this user; the default is the lab's. Only the lab has it.
    pub async fn directory(&self, name: &str, owner: Option<u32>) -> Result<Directory, LabError> {
        let order = Order::Directory(name.to_owned(), owner);
        let answer = self.ask(self.id(), order, &[]).await?;
        answer.outcome.map_err(|failure| LabError::Root {
            name: name.to_owned(),
            source: failure.source(),
            what: failure.what,
        })?;
        let path = answer.name.ok_or(LabError::Answer)?;
        let itself = answer.fds.into_iter().next().ok_or(LabError::Answer)?;
        let removal = self.removal(Order::RemoveDirectory(path.clone()));
        Ok(Directory::of_lab(path.into(), itself, removal))
    }

    /// Show a file to programs, under this name in one of the lab's directories. It may have no name, but must be in a
    /// file system that could give it one: no file of memory alone can be shown. Needs root.
    pub async fn show(
        &self,
        directory: &Directory,
        name: &str,
        file: BorrowedFd<'_>,
    ) -> Result<(), LabError> {
        let failed = |what: String, source| LabError::Root {
            name: name.to_owned(),
            what,
            source,
        };
        let named = Named::of(file)
            .map_err(|error| failed("give a file a name for a moment".to_owned(), Some(error)))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let mount = open_tree(named.file(), "", flags).map_err(|errno| {
            failed(
                "take a file to another place".to_owned(),
                Some(errno.into()),
            )
        })?;
        let path = directory.path().join(name);
        let order = Order::Show(path.to_string_lossy().into_owned());
        let answer = self.ask(self.id(), order, &[mount.as_fd()]).await?;
        answer.outcome.map_err(|failure| {
            let source = failure.source();
            failed(failure.what, source)
        })
    }

    fn removal(&self, order: Order) -> Removal {
        Removal::new(&self.socket, self.id(), order)
    }

    /// A new network namespace for a container of this name, with its loopback only: its path in
    /// the lab. One that it had before goes, with its cards.
    pub async fn namespace(&self, name: &str) -> Result<PathBuf, LabError> {
        let order = Order::Namespace(name.to_owned());
        self.place(name, order, &[]).await
    }

    /// A new virtual card on this network, with this hardware address, in the namespace of this
    /// name: `eth0` is the first. The network's end is up.
    pub async fn veth(&self, network: &str, mac: [u8; 6], namespace: &str) -> Result<(), LabError> {
        let order = Order::Veth(network.to_owned(), mac, namespace.to_owned());
        let answer = self.ask(self.id(), order, &[]).await?;
        answer.outcome.map_err(|failure| refused(network, failure))
    }

    /// A new root for a machine of this name: the image (of any file system that the host's kernel
    /// reads) below; above, for what is written, a disk with an ext4, or else memory. Its path in
    /// the lab.
    pub async fn root(
        &self,
        name: &str,
        image: BorrowedFd<'_>,
        upper: Option<BorrowedFd<'_>>,
    ) -> Result<PathBuf, LabError> {
        let fds: Vec<_> = std::iter::once(image).chain(upper).collect();
        self.place(name, Order::Root(name.to_owned()), &fds).await
    }

    /// A snapshot of a raw image by the kernel's device mapper: what is written to the device goes
    /// to `changes`, an empty file. The open device; it goes when nobody has it open.
    pub async fn snapshot(
        &self,
        image: BorrowedFd<'_>,
        changes: BorrowedFd<'_>,
    ) -> Result<OwnedFd, LabError> {
        let fds = [image, changes];
        let answer = self.ask(self.id(), Order::Snapshot, &fds).await?;
        answer.outcome.map_err(|failure| LabError::Snapshot {
            source: failure.source(),
            what: failure.what,
        })?;
        answer.fds.into_iter().next().ok_or(LabError::Answer)
    }

    /// A new file of the lab's own, of this name and mode, with what can be read from the
    /// descriptor. Its path in the lab.
    pub async fn file(
        &self,
        name: &str,
        mode: u32,
        from: BorrowedFd<'_>,
    ) -> Result<PathBuf, LabError> {
        let order = Order::File(name.to_owned(), mode);
        self.place(name, order, &[from]).await
    }

    async fn place(
        &self,
        name: &str,
        order: Order,
        fds: &[BorrowedFd<'_>],
    ) -> Result<PathBuf, LabError> {
        let answer = self.ask(self.id(), order, fds).await?;
        answer.outcome.map_err(|failure| LabError::Root {
            name: name.to_owned(),
            source: failure.source(),
            what: failure.what,
        })?;
        answer.name.map(PathBuf::from).ok_or(LabError::Answer)
    }

    /// Run a program in the lab. It is leader of its own process group; all signals are at
    /// their defaults. When this future is dropped the program is killed, or never starts.
    pub async fn spawn(&self, spawn: Spawn) -> Result<Process, LabError> {
        let program = find(&spawn.program)?;
        let fds: Vec<BorrowedFd<'_>> = spawn
            .input
            .iter()
            .chain(&spawn.output)
            .chain(&spawn.errors)
            .chain(&spawn.fds)
            .map(AsFd::as_fd)
            .collect();
        let order = Order::Spawn(message(&spawn, &program));
        let id = self.id();
        let exit = self.waiting.exit(id);
        let answer = match self.ask(id, order, &fds).await {
            Err(LabError::TooLarge {
                bytes,
                limit,
                fds,
                fd_limit,
                ..
            }) => Err(LabError::TooLarge {
                program: program.clone(),
                bytes,
                limit,
                fds,
                fd_limit,
            }),
            other => other,
        }
        .inspect_err(|_| self.waiting.forget(id))?;
        if let Err(failure) = answer.outcome {
            self.waiting.forget(id);
            let source = failure.source();
            return Err(LabError::Spawn {
                program,
                what: failure.what,
                source,
            });
        }
        let pidfd = answer.fds.into_iter().next().ok_or(LabError::Answer)?;
        let pid = answer.pid.ok_or(LabError::Answer)?;
        Ok(Process { pid, pidfd, exit })
    }

    /// The host's number of the process that is PID 1 inside.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The host's number of the outer process, the parent of PID 1: a child of the driver. It
    /// is also a process of the lab's other namespaces.
    pub fn supervisor_pid(&self) -> u32 {
        self.supervisor
    }

    /// Resolves when the lab process has ended without being asked, with what is known of why.
    pub async fn ended(&self) -> LabError {
        let mut end = self.end.clone();
        let known = end
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|end| end.clone());
        LabError::Ended(known.unwrap_or_default())
    }

    /// End everything in the lab, and return when the kernel has.
    pub async fn end(&self) {
        self.socket.shut();
        let mut gone = self.gone.clone();
        // An error would mean that nobody waits for it any more, so that it has ended, too.
        let _ = gone.wait_for(Option::is_some).await;
    }

    async fn network(&self, network: &NetworkSpec) -> Result<(), LabError> {
        let order = Order::Network(Network {
            name: network.name.clone(),
            mtu: network.mtu,
            addresses: network.addresses.clone(),
        });
        let answer = self.ask(self.id(), order, &[]).await?;
        answer
            .outcome
            .map_err(|failure| refused(&network.name, failure))
    }

    fn id(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask(&self, id: u32, order: Order, fds: &[BorrowedFd<'_>]) -> Result<Answer, LabError> {
        let mut bytes = encode(&Request { id, order });
        // One is left for a message that is large.
        if bytes.len() > LARGEST || fds.len() >= FDS_MAX {
            return Err(LabError::TooLarge {
                program: PathBuf::new(),
                bytes: bytes.len(),
                limit: LARGEST,
                fds: fds.len(),
                fd_limit: FDS_MAX - 1,
            });
        }
        let mut fds = fds.to_vec();
        let file;
        if bytes.len() > MESSAGE_MAX {
            file = in_memory(&bytes).map_err(LabError::Control)?;
            fds.insert(0, file.as_fd());
            bytes = encode(&Request {
                id,
                order: Order::Large,
            });
        }
        let answer = self.waiting.answer(id);
        match self.socket.send(&bytes, &fds, None).await {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                return Err(self.ended().await);
            }
            other => other.map_err(LabError::Control)?,
        }
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.ended().await),
        }
    }
}

impl Drop for LabProcess {
    fn drop(&mut self) {
        // PID 1 ends when it reads the end of this socket; a thread reaps the outer process.
        self.socket.shut();
    }
}

/// A file of these bytes, read from its start.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let file = rustix::fs::memfd_create("attest-request", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn refused(network: &str, failure: Failure) -> LabError {
    let source = failure.source();
    LabError::Network {
        network: network.to_owned(),
        what: failure.what,
        source,
    }
}

fn message(spawn: &Spawn, program: &Path) -> Program {
    let bytes = |text: &OsStr| ByteVec::from(text.as_bytes().to_vec());
    let name = std::iter::once(spawn.program.as_os_str());
    let directory = spawn.directory.as_deref().unwrap_or(Path::new("/"));
    Program {
        path: bytes(program.as_os_str()),
        args: name
            .chain(spawn.args.iter().map(AsRef::as_ref))
            .map(bytes)
            .collect(),
        environment: spawn
            .environment
            .iter()
            .map(|(name, value)| {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                ByteVec::from(pair.into_vec())
            })
            .collect(),
        directory: bytes(directory.as_os_str()),
        has_input: spawn.input.is_some(),
        has_output: spawn.output.is_some(),
        has_errors: spawn.errors.is_some(),
        listens: spawn.listens,
        on_host_network: spawn.on_host_network,
        own_group: spawn.own_group,
    }
}

/// The absolute path of a program, searched in the driver's `PATH` as a shell would.
fn find(program: &Path) -> Result<PathBuf, LabError> {
    if program.components().count() > 1 || program.is_absolute() {
        return std::path::absolute(program).map_err(|source| LabError::Start {
            what: "finding the working directory",
            source,
        });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| {
            candidate.is_file()
                && nix::unistd::access(candidate, nix::unistd::AccessFlags::X_OK).is_ok()
        })
        .ok_or_else(|| LabError::NotFound(program.to_owned()))
}
