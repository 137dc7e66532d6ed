//! TCP and Unix-socket forwarding between the host and a machine, over the agent's link: no
//! route between them is needed.

use std::path::PathBuf;
use std::sync::Arc;

use attest_protocol::link::{Channel, Connections, Incoming, Stream};
use attest_protocol::message::{self, Notice, Request};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::command::raw;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::runtime::Background;
use crate::session::Session;

/// Bytes read from a local connection at once: one full frame of the link.
const CHUNK: usize = attest_protocol::frame::MAX_PAYLOAD;

/// One end of a forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Host (a name or an address) and port. To listen with port 0 takes a free one.
    Tcp(String, u16),
    /// Path of a Unix stream socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// A port of `localhost`.
    pub fn port(port: u16) -> Self {
        Self::Tcp("127.0.0.1".to_owned(), port)
    }

    fn message(&self) -> message::Endpoint {
        match self {
            Self::Tcp(host, port) => message::Endpoint::Tcp(host.clone(), *port),
            Self::Unix(path) => message::Endpoint::Unix(raw(path.as_os_str())),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A forward that stands. It ends, with its connections, when dropped.
#[derive(Debug)]
pub struct Forward {
    port: u16,
    _listening: Background,
    _socket: Option<SocketFile>,
}

/// Removes the socket that we made.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A byte stream of either kind.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Forward {
    /// The TCP port that listens; 0 for Unix sockets.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn to_guest(
        machine: &Machine,
        host: Endpoint,
        guest: Endpoint,
    ) -> Result<Self> {
        let refused = || {
            Error::io(format!(
                "{}: listening at {host} on the host failed",
                machine.name()
            ))
        };
        let (listener, port, socket) = match &host {
            Endpoint::Tcp(name, port) => {
                let listener = TcpListener::bind((name.as_str(), *port))
                    .await
                    .map_err(refused())?;
                let port = listener.local_addr().map_err(refused())?.port();
                (Listener::Tcp(listener), port, None)
            }
            Endpoint::Unix(path) => {
                let listener = UnixListener::bind(path).map_err(refused())?;
                (Listener::Unix(listener), 0, Some(SocketFile(path.clone())))
            }
        };
        let session = Arc::clone(&machine.inner.session);
        let target = guest.message();
        let listening = Background::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok(connection) = listener.accept().await {
                let (session, target) = (Arc::clone(&session), target.clone());
                connections.spawn(async move { connect(&session, target, connection).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            port,
            _listening: listening,
            _socket: socket,
        })
    }

    pub(crate) async fn to_host(
        machine: &Machine,
        guest: Endpoint,
        host: Endpoint,
    ) -> Result<Self> {
        let session = machine.session();
        let link = session.link().await?;
        let request = Request::Listen(guest.message());
        let mut channel = link.open(&request).map_err(|source| Error::AgentLost {
            machine: machine.name().to_owned(),
            source,
        })?;
        // Before it listens, so that no connection comes too early.
        let accepted = link.accepted_by(channel.sender.channel());
        let port = loop {
            match session.next(&mut channel).await? {
                Incoming::Notice(Notice::Listening(port)) => break port,
                Incoming::Finished(Err(failure)) => return Err(session.failure("listen", failure)),
                Incoming::Finished(Ok(_)) => return Err(session.unexpected("listen")),
                _ => {}
            }
        };
        let listening = Background::spawn(accept(accepted, channel, host));
        Ok(Self {
            port,
            _listening: listening,
            _socket: None,
        })
    }
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Connections that a listener inside the guest accepted, for as long as the listener's channel is held.
async fn accept(mut accepted: Connections, _listener: Channel, host: Endpoint) {
    let mut connections = tokio::task::JoinSet::new();
    while let Some(channel) = accepted.next().await {
        let host = host.clone();
        connections.spawn(async move {
            let connection: std::io::Result<Box<dyn Connection>> = match &host {
                Endpoint::Tcp(name, port) => TcpStream::connect((name.as_str(), *port))
                    .await
                    .map(|stream| Box::new(stream) as _),
                Endpoint::Unix(path) => UnixStream::connect(path)
                    .await
                    .map(|stream| Box::new(stream) as _),
            };
            // Without a connection the channel is dropped, which closes the guest's half.
            if let Ok(connection) = connection {
                pipe(channel, connection).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A connection to something inside the machine, as a stream of this program.
pub(crate) async fn open(session: &Session, guest: &Endpoint) -> Result<DuplexStream> {
    let channel = dial(session, guest.message()).await?;
    let (near, far) = tokio::io::duplex(CHUNK);
    // It ends with either end of the stream.
    tokio::spawn(pipe(channel, Box::new(far)));
    Ok(near)
}

async fn connect(session: &Session, target: message::Endpoint, connection: Box<dyn Connection>) {
    // A refused connection shows as a closed one, as from any proxy.
    if let Ok(channel) = dial(session, target).await {
        pipe(channel, connection).await;
    }
}

/// A channel over which the agent has connected.
async fn dial(session: &Session, target: message::Endpoint) -> Result<Channel> {
    let mut channel = session.open(&Request::Connect(target)).await?;
    loop {
        match session.next(&mut channel).await? {
            Incoming::Notice(Notice::Connected) => return Ok(channel),
            Incoming::Finished(Err(failure)) => return Err(session.failure("connect", failure)),
            Incoming::Finished(Ok(_)) => return Err(session.unexpected("connect")),
            _ => {}
        }
    }
}

/// Carry bytes both ways until both directions have ended.
async fn pipe(channel: Channel, connection: Box<dyn Connection>) {
    let Channel {
        sender,
        mut receiver,
    } = channel;
    let (mut reader, mut writer) = tokio::io::split(connection);
    let outbound = async {
        loop {
            let mut buffer = BytesMut::with_capacity(CHUNK);
            match reader.read_buf(&mut buffer).await {
                Ok(1..) => {
                    if sender.data(Stream::In, buffer.freeze()).await.is_err() {
                        return;
                    }
                }
                _ => return drop(sender.eof(Stream::In)),
            }
        }
    };
    let inbound = async {
        while let Ok(incoming) = receiver.next().await {
            match incoming {
                Incoming::Data(_, bytes) if writer.write_all(&bytes).await.is_err() => {
                    return;
                }
                Incoming::Eof(_) => {
                    let _ = writer.shutdown().await;
                }
                Incoming::Finished(_) => return,
                _ => {}
            }
        }
    };
    // The agent finishes the channel when both of its halves are done; nothing is left to carry
    // then, whatever the local side still holds open.
    tokio::select! {
        () = inbound => {}
        never = async { outbound.await; std::future::pending::<std::convert::Infallible>().await } => match never {},
    }
}
