//! PID 1's loop: requests from the control socket, ended children.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attest_net::{
    Link, NetError, Netlink, VirtualCard, VnetHeader, bridge_name, card_name, lasting_tap, tap,
    tap_name,
};
use nix::errno::Errno;
use rustix::net::UCred;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cards::Namespaces;
use super::children::Children;
use super::directories::Directories;
use super::roots::Roots;
use super::{PROTOCOL, REFUSED, mapper};
use crate::socket::{Datagram, Socket};
use crate::wire::{Failure, LARGEST, Network, Order, Report, Request, decode, encode};
use crate::words::Words;

/// Bytes; what a relay reads into is elsewhere.
const RELAY_STACK: usize = 64 * 1024;

/// PID 1 of the lab.
#[derive(Debug)]
struct Lab {
    socket: Socket,
    /// Only where the network is the lab's own.
    net: Option<Netlink>,
    bridges: HashMap<String, Link>,
    /// TAPs and virtual cards so far.
    cards: u32,
    children: Children,
    roots: Roots,
    directories: Directories,
    namespaces: Namespaces,
}

/// Why the loop ended.
#[derive(Debug)]
enum Stop {
    /// The driver closed the socket, or is gone.
    Closed,
    /// The driver sent what is no request.
    Garbage,
    /// The kernel refused something that a lab cannot be without.
    Failed(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Failed(Failure::from_error(&error)),
        }
    }
}

/// Serve until the driver closes the socket.
pub(super) fn run(control: OwnedFd, words: &Words) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return super::refuse(&control, Failure::from_error(&error)),
    };
    let stop = runtime.block_on(async {
        let socket = Socket::new(control)?;
        // From before the first child on, so that no end of one is missed.
        let children = signal(SignalKind::child())?;
        match Lab::new(socket, words) {
            Ok(mut lab) => {
                let stop = lab.serve(children).await;
                lab.say_why(&stop).await;
                Ok::<_, io::Error>(stop)
            }
            Err((socket, error)) => {
                let report = Report::Failed(Failure::from_error(&error));
                let _ = socket.send(&encode(&report), &[], None).await;
                Ok(Stop::Failed(Failure::from_error(&error)))
            }
        }
    });
    match stop {
        Ok(Stop::Closed) => ExitCode::SUCCESS,
        Ok(Stop::Garbage) => ExitCode::from(PROTOCOL),
        Ok(Stop::Failed(_)) | Err(_) => ExitCode::from(REFUSED),
    }
}

impl Lab {
    fn new(socket: Socket, words: &Words) -> Result<Self, (Socket, NetError)> {
        let own_network = || {
            let net = Netlink::open()?;
            attest_net::loopback_up()?;
            Ok(net)
        };
        let net = match words.has_own_network().then(own_network).transpose() {
            Ok(net) => net,
            Err(error) => return Err((socket, error)),
        };
        Ok(Self {
            socket,
            net,
            bridges: HashMap::new(),
            cards: 0,
            children: Children::new(words),
            roots: Roots::new(words.shares_host),
            directories: Directories::default(),
            namespaces: Namespaces::default(),
        })
    }

    async fn serve(&mut self, mut ended: Signal) -> Stop {
        match self.report(&Report::Ready).await {
            Ok(()) => {}
            Err(stop) => return stop,
        }
        loop {
            let step = tokio::select! {
                _ = ended.recv() => self.reap().await,
                request = self.socket.receive() => match request {
                    Ok(Some(datagram)) => self.request(datagram).await,
                    Ok(None) => Err(Stop::Closed),
                    Err(error) => Err(error.into()),
                },
            };
            if let Err(stop) = step {
                return stop;
            }
        }
    }

    async fn say_why(&self, stop: &Stop) {
        let failure = match stop {
            Stop::Closed => return,
            Stop::Garbage => Failure {
                what: "it was sent what is no request".into(),
                errno: 0,
            },
            Stop::Failed(failure) => failure.clone(),
        };
        let _ = self
            .socket
            .send(&encode(&Report::Failed(failure)), &[], None)
            .await;
    }

    async fn report(&self, report: &Report) -> Result<(), Stop> {
        Ok(self.socket.send(&encode(report), &[], None).await?)
    }

    async fn reap(&mut self) -> Result<(), Stop> {
        while let Some((id, how)) = self.children.reap() {
            self.report(&Report::Exited(id, how)).await?;
        }
        Ok(())
    }

    async fn request(&mut self, datagram: Datagram) -> Result<(), Stop> {
        let Datagram { bytes, mut fds, .. } = datagram;
        let Some(Request { id, mut order }) = decode(&bytes) else {
            return Err(Stop::Garbage);
        };
        if order == Order::Large {
            order = large(id, &mut fds).ok_or(Stop::Garbage)?;
        }
        let outcome = match order {
            Order::Network(network) => self.network(&network).await.map(|()| Answer::default()),
            Order::Tap(network) => self.tap(&network).await.map(Answer::with_fd),
            Order::Relay(network) => self.relay(&network).await.map(Answer::with_fd),
            Order::Namespace(name) => self
                .namespace(&name)
                .await
                .map(|path| Answer::with_path(&path)),
            Order::Veth(network, mac, namespace) => self
                .veth(&network, mac, &namespace)
                .await
                .map(|()| Answer::default()),
            Order::Spawn(program) => self.children.spawn(id, &program, fds).and_then(|pid| {
                let (pidfd, credentials) = identity(pid)?;
                Ok(Answer {
                    credentials: Some(credentials),
                    ..Answer::with_fd(pidfd)
                })
            }),
            Order::Root(name) => {
                let mut fds = fds.into_iter();
                next(&mut fds)
                    .and_then(|image| self.roots.root(&name, &image, fds.next()))
                    .map(|path| Answer::with_path(&path))
            }
            Order::File(name, mode) => next(&mut fds.into_iter())
                .and_then(|from| self.roots.file(&name, mode, from))
                .map(|path| Answer::with_path(&path)),
            Order::Snapshot => {
                let mut fds = fds.into_iter();
                next(&mut fds)
                    .and_then(|image| Ok((image, next(&mut fds)?)))
                    .and_then(|(image, changes)| mapper::snapshot(image, changes))
                    .map(Answer::with_fd)
            }
            Order::LastingTap(network, owner) => self
                .lasting_tap(&network, owner)
                .await
                .map(Answer::with_name),
            Order::RemoveTap(name) => self.remove_tap(&name).await.map(|()| Answer::default()),
            Order::Directory(name, owner) => self.directory(&name, owner),
            Order::Show(path) => next(&mut fds.into_iter())
                .and_then(|mount| self.directories.show(Path::new(&path), &mount))
                .map(|()| Answer::default()),
            Order::RemoveDirectory(path) => {
                self.directories.remove(Path::new(&path));
                Ok(Answer::default())
            }
            Order::Large => return Err(Stop::Garbage),
        };
        match outcome {
            Ok(answer) => {
                let fds: Vec<_> = answer.fd.iter().map(AsFd::as_fd).collect();
                let report = Report::Done(id, answer.name);
                Ok(self
                    .socket
                    .send(&encode(&report), &fds, answer.credentials)
                    .await?)
            }
            Err(failure) => self.report(&Report::Refused(id, failure)).await,
        }
    }

    async fn network(&mut self, network: &Network) -> Result<(), Failure> {
        let failed = |error: NetError| Failure::from_error(&error);
        let name = bridge_name(&network.name);
        let net = own(self.net.as_ref())?;
        let bridge = net.bridge_add(&name, network.mtu).await.map_err(failed)?;
        for (address, prefix) in &network.addresses {
            net.address_add(&bridge, *address, *prefix)
                .await
                .map_err(failed)?;
        }
        self.bridges.insert(network.name.clone(), bridge);
        // Nothing makes one. Would something, machines could reach what is outside of the test.
        if net.has_default_route().await.map_err(failed)? {
            let what = "the lab has a default route; this must not be: please report it";
            return Err(Failure {
                what: what.into(),
                errno: 0,
            });
        }
        Ok(())
    }

    async fn tap(&mut self, network: &str) -> Result<OwnedFd, Failure> {
        let make = |name: &str| tap(name, VnetHeader::Yes);
        let (queue, _) = self.port(network, make).await?;
        Ok(queue)
    }

    async fn lasting_tap(&mut self, network: &str, owner: Option<u32>) -> Result<String, Failure> {
        let make = |name: &str| lasting_tap(name, owner);
        let ((), name) = self.port(network, make).await?;
        Ok(name)
    }

    /// A new port of this network without a TAP: the machine's socket, as long as which is open its frames are relayed.
    async fn relay(&mut self, network: &str) -> Result<OwnedFd, Failure> {
        let failed = |error: NetError| Failure::from_error(&error);
        let bridge = self.bridge(network)?;
        let number = self.card();
        let (name, card) = (tap_name(network, number), card_name(network, number));
        let net = own(self.net.as_ref())?;
        let made = net.relay_add(&name, &card, &bridge).await;
        let (relay, machine) = made.map_err(failed)?;
        // A thread of its own: frames do not wait for orders, nor orders for frames.
        std::thread::Builder::new()
            .name("attest-relay".into())
            .stack_size(RELAY_STACK)
            .spawn(move || relay.run())
            .map_err(super::failed("start a thread for a network card"))?;
        Ok(machine)
    }

    /// A new TAP on this network: what `make` returns, and its name.
    async fn port<T>(
        &mut self,
        network: &str,
        make: impl FnOnce(&str) -> Result<T, NetError>,
    ) -> Result<(T, String), Failure> {
        let failed = |error: NetError| Failure::from_error(&error);
        let bridge = self.bridge(network)?;
        let name = tap_name(network, self.card());
        let net = own(self.net.as_ref())?;
        let tap = make(&name).map_err(failed)?;
        let port = net.link_by_name(&name).await.map_err(failed)?;
        net.port_up(&port, &bridge).await.map_err(failed)?;
        Ok((tap, name))
    }

    async fn remove_tap(&mut self, name: &str) -> Result<(), Failure> {
        let failed = |error: NetError| Failure::from_error(&error);
        let net = own(self.net.as_ref())?;
        let link = net.link_by_name(name).await.map_err(failed)?;
        net.remove(&link).await.map_err(failed)
    }

    fn directory(&mut self, name: &str, owner: Option<u32>) -> Result<Answer, Failure> {
        let place = self.roots.programs()?;
        let (path, directory) = self.directories.make(&place, name, owner)?;
        Ok(Answer {
            fd: Some(directory),
            ..Answer::with_path(&path)
        })
    }

    async fn namespace(&mut self, name: &str) -> Result<PathBuf, Failure> {
        let failed = |error: NetError| Failure::from_error(&error);
        let net = own(self.net.as_ref())?;
        // Cards first: with their namespace they would go, too, but at any time.
        for port in self.namespaces.ports(name) {
            let port = net.link_by_name(&port).await.map_err(failed)?;
            net.remove(&port).await.map_err(failed)?;
        }
        self.namespaces.discard(name);
        self.namespaces.make(name, &self.roots.networks()?)
    }

    async fn veth(&mut self, network: &str, mac: [u8; 6], namespace: &str) -> Result<(), Failure> {
        let failed = |error: NetError| Failure::from_error(&error);
        let bridge = self.bridge(network)?;
        let name = tap_name(network, self.card());
        let namespace = self.namespaces.get(namespace).ok_or_else(|| Failure {
            what: "the lab has no such network namespace".into(),
            errno: 0,
        })?;
        let card = VirtualCard {
            name: &namespace.next_card(),
            mac,
            mtu: bridge.mtu,
            namespace: namespace.file(),
        };
        let net = own(self.net.as_ref())?;
        let port = net.veth_add(&name, &card).await.map_err(failed)?;
        net.port_up(&port, &bridge).await.map_err(failed)?;
        namespace.ports.push(name);
        Ok(())
    }

    fn bridge(&self, network: &str) -> Result<Link, Failure> {
        let bridge = self.bridges.get(network).cloned();
        bridge.ok_or_else(|| Failure {
            what: "the lab has no such network".into(),
            errno: 0,
        })
    }

    /// A number for one more card.
    fn card(&mut self) -> u32 {
        let number = self.cards;
        self.cards += 1;
        number
    }
}

/// What is in the file that came first, for the request of this number.
fn large(id: u32, fds: &mut Vec<OwnedFd>) -> Option<Order> {
    let file = File::from((!fds.is_empty()).then(|| fds.remove(0))?);
    let mut bytes = Vec::new();
    file.take(LARGEST as u64).read_to_end(&mut bytes).ok()?;
    let request: Request = decode(&bytes)?;
    (request.id == id).then_some(request.order)
}

/// The lab's own network. The host's is not touched.
fn own(net: Option<&Netlink>) -> Result<&Netlink, Failure> {
    net.ok_or_else(|| Failure {
        what: "the lab has the host's network, and makes none".into(),
        errno: 0,
    })
}

/// What an answer carries.
#[derive(Default)]
struct Answer {
    fd: Option<OwnedFd>,
    credentials: Option<UCred>,
    name: Option<String>,
}

impl Answer {
    fn with_fd(fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            ..Self::default()
        }
    }

    fn with_name(name: String) -> Self {
        Self {
            name: Some(name),
            ..Self::default()
        }
    }

    /// Paths in the lab are made of names that came as text.
    fn with_path(path: &Path) -> Self {
        Self::with_name(path.to_string_lossy().into_owned())
    }
}

fn next(fds: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd, Failure> {
    fds.next()
        .ok_or_else(|| Failure::new("take its descriptors", Errno::EBADF))
}

/// A child's pidfd, and credentials that name it: the kernel translates the number for the
/// driver, whether or not the child still runs when it is read. The child is not reaped before
/// this returns, so the number is its own.
fn identity(pid: nix::unistd::Pid) -> Result<(OwnedFd, UCred), Failure> {
    let failed = |errno| Failure::new("name the started program", errno);
    let pid = Pid::from_raw(pid.as_raw()).ok_or_else(|| failed(Errno::ESRCH))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| failed(Errno::from_raw(errno.raw_os_error())))?;
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    Ok((pidfd, UCred { pid, uid, gid }))
}
