//! The agent's state, its sessions with the host, and which request goes where.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use attest_protocol::GENERATION;
use attest_protocol::link::{Channel, LinkError, Opener};
use attest_protocol::message::{Hello, Request, Response};
use tokio::task::{LocalSet, spawn_local};

use crate::failure::failure;
use crate::reaper::Reaper;
use crate::role::Role;
use crate::shells::Shells;
use crate::streams::{self, Ended, Stream, Streams};
use crate::{copy, exec, forward, setup, system, wait};

/// What all requests share. One thread does everything, so plain cells do.
#[derive(Debug)]
pub struct Agent {
    /// The default environment of commands.
    pub(crate) environment: RefCell<Vec<(String, String)>>,
    pub(crate) reaper: Reaper,
    pub(crate) shells: Shells,
    pub(crate) frozen: RefCell<Vec<std::fs::File>>,
    pub(crate) tracked: Cell<u64>,
    pub(crate) userspace_ns: u64,
    pub(crate) connected_ns: Cell<u64>,
    pub(crate) role: Role,
    /// Read once: a machine that goes on says it again, and has none of the code for it at hand.
    boot_id: String,
}

/// Counts a request for as long as it is served.
pub(crate) struct Tracked(Rc<Agent>);

impl Tracked {
    fn new(agent: &Rc<Agent>) -> Self {
        agent.tracked.set(agent.tracked.get() + 1);
        Self(Rc::clone(agent))
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.tracked.set(self.0.tracked.get() - 1);
    }
}

/// Serve one host after the other on these streams; returns when there are no more.
pub async fn serve(streams: impl Streams, role: Role) -> LinkError {
    let userspace_ns = system::uptime_ns();
    LocalSet::new()
        .run_until(serve_local(streams, role, userspace_ns))
        .await
}

async fn serve_local(mut streams: impl Streams, role: Role, userspace_ns: u64) -> LinkError {
    let reaper = match Reaper::start() {
        Ok(reaper) => reaper,
        Err(error) => return LinkError::Io(error.to_string()),
    };
    let agent = Rc::new(Agent {
        environment: RefCell::default(),
        reaper,
        shells: Shells::default(),
        frozen: RefCell::default(),
        tracked: Cell::new(0),
        userspace_ns,
        connected_ns: Cell::new(0),
        role,
        boot_id: boot_id(),
    });
    if matches!(agent.role, Role::Init) {
        spawn_local(crate::init::follow_signals());
    }
    let mut newer = None;
    let mut before = None;
    loop {
        let stream = match newer.take() {
            Some(stream) => stream,
            None => match streams.next(before.take()).await {
                Ok(stream) => stream,
                Err(over) => return over,
            },
        };
        tokio::select! {
            ended = serve_stream(&agent, stream) => before = Some(ended),
            // The older one is dropped, and its session with it.
            stream = streams.newer() => newer = Some(stream),
        }
        // A host that is gone does not thaw.
        system::thaw(&agent);
    }
}

/// Serve one host after the other on this stream, until it ends.
async fn serve_stream(agent: &Rc<Agent>, stream: Stream) -> Ended {
    let mut answered = false;
    let ended = |answered, error| Ended { error, answered };
    let mut port = match streams::open(stream) {
        Ok(port) => port,
        Err(error) => return ended(answered, LinkError::Io(error.to_string())),
    };
    loop {
        if agent.connected_ns.get() == 0 {
            agent.connected_ns.set(system::uptime_ns());
        }
        let mut link = match port.connect(hello(agent)).await {
            Ok(link) => link,
            Err(error) => return ended(answered, error),
        };
        answered = true;
        let opener = link.opener();
        while let Ok((request, channel)) = link.next().await {
            spawn_local(dispatch(Rc::clone(agent), request, channel, opener.clone()));
        }
        // A host that is gone does not thaw.
        system::thaw(agent);
    }
}

fn boot_id() -> String {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot_id.trim().to_owned()
}

fn hello(agent: &Agent) -> Hello {
    Hello {
        generation: GENERATION,
        // Never the one that means a knock.
        nonce: system::random_u64().max(1),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: agent.boot_id.clone(),
        uptime_ns: system::uptime_ns(),
        is_init: matches!(agent.role, Role::Init),
        waits: agent.role.waits(),
    }
}

async fn dispatch(agent: Rc<Agent>, request: Request, channel: Channel, opener: Opener) {
    let _tracked = Tracked::new(&agent);
    let sender = channel.sender.clone();
    let result = match request {
        Request::Setup(setup) => setup::apply(&agent, setup),
        Request::Exec(exec) => exec::serve(&agent, &exec, channel).await,
        Request::Upload(upload) => copy::upload(upload, channel).await,
        Request::Download(download) => copy::download(download, channel).await,
        Request::Wait(wait) => wait::serve(wait, channel, &agent).await,
        Request::Connect(endpoint) => forward::connect(endpoint, channel).await,
        Request::Listen(endpoint) => forward::listen(endpoint, channel, opener).await,
        Request::Accepted(_) => Err(failure(
            attest_protocol::message::FailureCode::Invalid,
            "only the agent accepts connections",
        )),
        Request::SetClock(ns) => system::set_clock(ns),
        Request::Reseed(bytes) => system::reseed(&bytes),
        Request::Sync => system::sync().await,
        Request::Freeze(mount_points) => system::freeze(&agent, &mount_points).await,
        Request::Thaw => {
            system::thaw(&agent);
            Ok(Response::Done)
        }
        Request::PowerOff => system::leave(&agent, system::Leaving::PowerOff),
        Request::Reboot => system::leave(&agent, system::Leaving::Reboot),
        Request::Stats => Ok(Response::Stats(system::stats(&agent))),
        Request::Boot => agent.role.boot(),
        Request::Quiesce => system::quiesce(&agent).await,
        Request::Identity => system::identity(),
    };
    // When the host is gone there is nobody to tell.
    let _ = sender.finish(&result);
}
