//! `attest rpc`: labs for a client on an inherited socket.

use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use attest::Recorder;
use attest_report::Readers;
use attest_rpc::types::Description;
use attest_rpc::{Served, Session};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::CommandResult;
use crate::arguments::Rpc;
use crate::failure::Failure;
use crate::{output, terminal};

pub(crate) fn run(arguments: &Rpc) -> CommandResult {
    let Some(fd) = arguments.fd else {
        let schema = serde_json::to_string_pretty(&attest_rpc::schema()).expect("JSON");
        terminal::print(schema + "\n")?;
        return Ok(ExitCode::SUCCESS);
    };
    let socket = inherited::socket(fd).map_err(|error| {
        Failure::usage(format!(
            "error: descriptor {fd} is no socket to serve: {error}"
        ))
    })?;
    let runtime = super::runtime()?;
    let served = runtime.block_on(serve(socket));
    runtime.shutdown_background();
    match served {
        Ok(Served::Left) => Ok(ExitCode::SUCCESS),
        Ok(Served::Unreadable(error)) => Err(Failure::usage(format!(
            "error: the client: {}",
            attest::chain(&error)
        ))),
        Err(error) => Err(Failure::infrastructure(format!("error: {error}"))),
    }
}

async fn serve(socket: StdStream) -> std::io::Result<Served> {
    // A terminal's Ctrl-C is for the client, which still needs its labs then; we end with its socket.
    let _interrupts = signal(SignalKind::interrupt())?;
    socket.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(socket)?.into_split();
    let (recorder, events) = Recorder::new(Instant::now());
    let session = Arc::new(Session::new(Description::default(), recorder));
    let publisher = Arc::clone(&session);
    let pumping = output::pump_with(events, Readers::new(), move |event| {
        publisher.publish(event);
    });
    let served = attest_rpc::serve(reader, writer, Arc::clone(&session)).await;
    session.close().await;
    pumping.abort();
    Ok(served)
}

mod inherited {
    #![expect(
        unsafe_code,
        reason = "a descriptor is named by its number on the command line"
    )]

    use std::io;
    use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{getsockopt, sockopt::SockType};

    /// Only what is beyond the standard streams, and a stream socket, is taken.
    pub(super) fn socket(number: RawFd) -> io::Result<UnixStream> {
        if number < 3 {
            return Err(io::Error::other("the standard streams are not taken"));
        }
        // SAFETY: it is only asked what it is; when it is not open, the kernel says so.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        let kind = getsockopt(&borrowed.as_fd(), SockType)?;
        if kind != nix::sys::socket::SockType::Stream {
            return Err(io::Error::other("it is not a stream socket"));
        }
        nix::fcntl::fcntl(
            borrowed,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
        )?;
        // SAFETY: whoever started this program handed the descriptor over to it, and nothing else
        // in it has been told the number.
        Ok(UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) }))
    }
}
