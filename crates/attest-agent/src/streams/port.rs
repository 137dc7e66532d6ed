//! Descriptors as what the protocol goes over.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use attest_protocol::link::AgentPort;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;
use crate::pipes::read_shared;

pub(crate) fn open(stream: Stream) -> io::Result<AgentPort> {
    Ok(match stream {
        Stream::Duplex(fd) => {
            let (input, output) = tokio::io::split(Port::new(fd)?);
            AgentPort::new(input, output)
        }
        Stream::Pipes(input, output) => AgentPort::new(Port::new(input)?, Port::new(output)?),
    })
}

/// A device, socket or pipe as an asynchronous stream.
struct Port(AsyncFd<OwnedFd>);

impl Port {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        crate::async_fd::register(fd).map(Self)
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let most = buffer.remaining();
            let read = ready.try_io(|fd| {
                read_shared(fd.get_ref(), most, |bytes| buffer.put_slice(bytes)).map_err(Into::into)
            });
            if let Ok(result) = read {
                return Poll::Ready(result);
            }
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            if let Ok(result) = ready.try_io(|fd| Ok(nix::unistd::write(fd, bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
