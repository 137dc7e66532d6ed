//! The agent's program. As PID 1 it makes a system to live in, or lets one begin beside it;
//! elsewhere it serves the descriptor or device that it is given.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use attest_agent::{
    Arguments, Fixed, Inherited, Redial, Role, Stream, Vsock, enter, init, serve, stage,
};

const USAGE: &str = "usage: attest-agent --socket-fd N | --device PATH | --port PATH | --container N [INIT] | --enter N | --stdio | --check";

fn main() -> ExitCode {
    if std::process::id() == 1 && !is_told() {
        return first();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (opened, role) = match words.as_slice() {
        ["--container", number, rest @ ..] if rest.len() < 2 => {
            let Ok(number) = number.parse() else {
                return usage();
            };
            let init = rest.first().map(|&init| init.to_owned());
            eprintln!("attest: {}", stage::in_container(inherited(number), init));
            return ExitCode::FAILURE;
        }
        [stage::BESIDE, place] => {
            // A login on the console hangs up whoever has it as the terminal of its session.
            let _ = nix::unistd::setsid();
            let waiting = match stage::Waiting::from_stdout() {
                Ok(waiting) => waiting,
                Err(error) => return failed(&format!("stdout: {error}")),
            };
            let stream = match *place {
                stage::MACHINES => return serve_machines_host(Role::beside(waiting)),
                _ => std::io::stdin().as_fd().try_clone_to_owned(),
            };
            (stream.map(Stream::Duplex), Role::beside(waiting))
        }
        // Whether the file that it is in may be executed.
        ["--check"] => return ExitCode::SUCCESS,
        ["--stdio"] => {
            remove_own_file();
            (stdio(), Role::Guest)
        }
        ["--enter", number] => {
            let Ok(number) = number.parse() else {
                return usage();
            };
            return match enter::enter(&inherited(number)) {
                Ok(status) if status.success() => ExitCode::SUCCESS,
                Ok(status) => failed(&format!("the agent in the container: {status}")),
                Err(error) => failed(&format!("the container cannot be entered: {error}")),
            };
        }
        [enter::ENTERED, own, number] => {
            let (Ok(own), Ok(number)) = (own.parse(), number.parse()) else {
                return usage();
            };
            let _ = nix::unistd::setsid();
            // Neither is for commands: what it is run from, and the stream.
            drop(inherited(own));
            let stream = inherited(number);
            let kept = enter::keep(&stream).map(|()| Stream::Duplex(stream));
            (kept, Role::Pushed(Inherited::take()))
        }
        // Pushed through a root shell, whose end must not be this program's.
        ["--port", path] => {
            let _ = nix::unistd::setsid();
            remove_own_file();
            let inherited = Inherited::take();
            (device(path), Role::Pushed(inherited))
        }
        ["--socket-fd", number] => match number.parse() {
            Ok(number) => (Ok(Stream::Duplex(inherited(number))), Role::Guest),
            Err(_) => return usage(),
        },
        ["--device", path] => (device(path), Role::Guest),
        _ => return usage(),
    };
    match opened {
        Ok(stream) => {
            let ended = runtime().block_on(serve(Fixed::from(stream), role));
            eprintln!("attest-agent: {ended}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&format!("the stream to the host cannot be opened: {error}")),
    }
}

/// Whether somebody who knows this program started it. What the kernel gives to its init are words of its command line
/// that it does not know, as `nokaslr` for one that was unpacked before it began.
fn is_told() -> bool {
    let first = std::env::args_os().nth(1);
    first.is_some_and(|word| word.as_encoded_bytes().starts_with(b"--"))
}

fn device(path: &str) -> std::io::Result<Stream> {
    let device = File::options().read(true).write(true).open(path);
    device.map(|device| Stream::Duplex(device.into()))
}

/// It was put there to be run once.
fn remove_own_file() {
    if let Ok(own) = std::env::current_exe() {
        let _ = std::fs::remove_file(own);
    }
}

/// PID 1 of a virtual machine, from its initramfs.
fn first() -> ExitCode {
    init::prepare();
    if let Some(options) = stage::Options::of_the_kernel() {
        init::give_up(&stage::from_initramfs(&options));
    }
    init::prepare_rest();
    serve_machines_host(Role::Init)
}

/// Serve the host of the machine. PID 1 may not end, and beside it nobody sees an end.
fn serve_machines_host(role: Role) -> ExitCode {
    let runtime = runtime();
    let is_init = matches!(role, Role::Init);
    let error = match Arguments::of_the_kernel().vsock {
        Some(port) => runtime
            .block_on(serve(Redial::new(Vsock::host(port)), role))
            .to_string(),
        None => match runtime.block_on(init::port()) {
            Ok(port) => runtime
                .block_on(serve(Fixed::from(Stream::Duplex(port)), role))
                .to_string(),
            Err(error) => error,
        },
    };
    if is_init {
        init::give_up(&error);
    }
    failed(&error)
}

/// Both are taken away from those who print.
fn stdio() -> std::io::Result<Stream> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(Stream::Pipes(input, output))
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("the kernel gives an epoll descriptor")
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn failed(error: &str) -> ExitCode {
    eprintln!("attest-agent: {error}");
    ExitCode::FAILURE
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
