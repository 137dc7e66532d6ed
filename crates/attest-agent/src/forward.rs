//! Connections between the host and the guest, carried over the link.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use attest_protocol::frame::MAX_PAYLOAD;
use attest_protocol::link::{Channel, Incoming, Opener, Stream};
use attest_protocol::message::{Endpoint, Failure, Notice, Request, Response};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::spawn_local;

use crate::failure::os;
use crate::wait::resolve;

/// A byte stream of either kind.
trait Connection: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

fn shown(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(host, port) => format!("{host}:{port}"),
        Endpoint::Unix(path) => String::from_utf8_lossy(path).into_owned(),
    }
}

async fn dial(endpoint: &Endpoint) -> io::Result<Box<dyn Connection>> {
    match endpoint {
        Endpoint::Tcp(host, port) => {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in resolve(host) {
                match TcpStream::connect((address, *port)).await {
                    Ok(stream) => return Ok(Box::new(stream)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        Endpoint::Unix(path) => Ok(Box::new(
            UnixStream::connect(OsStr::from_bytes(path)).await?,
        )),
    }
}

pub(crate) async fn connect(endpoint: Endpoint, channel: Channel) -> Result<Response, Failure> {
    let connection = dial(&endpoint)
        .await
        .map_err(|error| os(format!("connecting to {} failed", shown(&endpoint)), &error))?;
    let _ = channel.sender.notice(&Notice::Connected);
    carry(channel, connection, Stream::Out).await;
    Ok(Response::Done)
}

/// Removes the socket that we made.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

impl Listener {
    async fn bind(endpoint: &Endpoint) -> io::Result<(Self, u16)> {
        match endpoint {
            Endpoint::Tcp(host, port) => {
                let address = resolve(host)
                    .into_iter()
                    .next()
                    .ok_or(io::ErrorKind::NotFound)?;
                let listener = TcpListener::bind((address, *port)).await?;
                let port = listener.local_addr()?.port();
                Ok((Self::Tcp(listener), port))
            }
            Endpoint::Unix(path) => {
                let path = PathBuf::from(OsStr::from_bytes(path));
                let listener = UnixListener::bind(&path)?;
                let listener = Self::Unix {
                    listener,
                    _file: SocketFile(path),
                };
                Ok((listener, 0))
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix { listener, .. } => Box::new(listener.accept().await?.0),
        })
    }
}

pub(crate) async fn listen(
    endpoint: Endpoint,
    mut channel: Channel,
    opener: Opener,
) -> Result<Response, Failure> {
    let failed = |error: &io::Error| os(format!("listening at {} failed", shown(&endpoint)), error);
    let (listener, port) = Listener::bind(&endpoint)
        .await
        .map_err(|error| failed(&error))?;
    let number = channel.sender.channel();
    let _ = channel.sender.notice(&Notice::Listening(port));
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let connection = connection.map_err(|error| failed(&error))?;
                let Ok(accepted) = opener.open(&Request::Accepted(number)) else { break };
                spawn_local(async move {
                    let sender = accepted.sender.clone();
                    carry(accepted, connection, Stream::Out).await;
                    let _ = sender.finish(&Ok(Response::Done));
                });
            }
            incoming = channel.receiver.next() => {
                if matches!(incoming, Ok(Incoming::Cancelled) | Err(_)) {
                    break;
                }
            }
        }
    }
    Ok(Response::Done)
}

/// Carry bytes both ways until both directions have ended, or one side is gone.
async fn carry(channel: Channel, connection: Box<dyn Connection>, towards_host: Stream) {
    let Channel {
        sender,
        mut receiver,
    } = channel;
    let (mut reader, mut writer) = tokio::io::split(connection);
    let outbound = async {
        loop {
            let mut buffer = BytesMut::with_capacity(MAX_PAYLOAD);
            match reader.read_buf(&mut buffer).await {
                Ok(1..) if sender.data(towards_host, buffer.freeze()).await.is_ok() => {}
                Ok(0) => return sender.eof(towards_host).is_ok(),
                Ok(1..) | Err(_) => return false,
            }
        }
    };
    let inbound = async {
        loop {
            match receiver.next().await {
                Ok(Incoming::Data(_, bytes)) => {
                    if writer.write_all(&bytes).await.is_err() {
                        return false;
                    }
                }
                Ok(Incoming::Eof(_)) => return writer.shutdown().await.is_ok(),
                Ok(Incoming::Cancelled | Incoming::Finished(_)) | Err(_) => return false,
                Ok(_) => {}
            }
        }
    };
    // A direction that ended well lets the other one go on; one that broke ends both.
    tokio::pin!(outbound, inbound);
    tokio::select! {
        well = &mut outbound => if well {
            inbound.await;
        },
        well = &mut inbound => if well {
            outbound.await;
        },
    }
}
