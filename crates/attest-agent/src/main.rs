//! The agent's program. As PID 1 it first makes a system to live in; elsewhere it serves the
//! descriptor or device that it is given.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

const USAGE: &str = "usage: attest-agent --socket-fd N | --device PATH";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("the kernel gives an epoll descriptor");
    if std::process::id() == 1 {
        attest_agent::init::prepare();
        let port = match runtime.block_on(attest_agent::init::port()) {
            Ok(port) => port,
            Err(error) => attest_agent::init::give_up(&error),
        };
        let error = runtime.block_on(attest_agent::serve(port, true));
        attest_agent::init::give_up(&error.to_string());
    }
    let Some(stream) = stream() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match stream {
        Ok(stream) => {
            let ended = runtime.block_on(attest_agent::serve(stream, false));
            eprintln!("attest-agent: {ended}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("attest-agent: the stream to the host cannot be opened: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stream() -> Option<std::io::Result<OwnedFd>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next()?.as_str(), arguments.next()?) {
        ("--socket-fd", number) => number.parse().ok().map(|number| Ok(inherited(number))),
        ("--device", path) => Some(
            File::options()
                .read(true)
                .write(true)
                .open(path)
                .map(OwnedFd::from),
        ),
        _ => None,
    }
}

#[expect(
    unsafe_code,
    reason = "a descriptor is named by its number on the command line"
)]
fn inherited(number: RawFd) -> OwnedFd {
    // SAFETY: whoever started this program handed the descriptor over to it, and nothing else
    // in it has been told the number.
    unsafe { OwnedFd::from_raw_fd(number) }
}
