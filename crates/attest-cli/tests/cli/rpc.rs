//! `attest rpc`, as a program on a socket sees it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::Child;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::{LONG, Place, signal};

struct Client {
    server: Child,
    socket: BufReader<UnixStream>,
}

impl Client {
    fn start(place: &Place) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(LONG)).unwrap();
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let server = place
            .attest(&["rpc", "--fd", &theirs.as_raw_fd().to_string()])
            .spawn()
            .unwrap();
        Self {
            server,
            socket: BufReader::new(ours),
        }
    }

    fn call(&mut self, call: &str) -> String {
        writeln!(self.socket.get_mut(), "{call}").unwrap();
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn an_interrupt_is_the_clients_and_the_end_of_the_socket_is_the_end() {
    let mut client = Client::start(&Place::new(""));
    let hello =
        r#"{"jsonrpc":"2.0","id":0,"method":"hello","params":{"generation":1,"client":"x"}}"#;
    assert!(client.call(hello).contains("\"generation\":1"));
    signal(
        Pid::from_raw(client.server.id().cast_signed()),
        Signal::SIGINT,
    );
    let answer = client.call(r#"{"jsonrpc":"2.0","id":1,"method":"session.describe","params":{}}"#);
    assert!(answer.contains("\"surface\":\"none\""), "{answer}");
    drop(client.socket);
    assert_eq!(client.server.wait().unwrap().code(), Some(0));
}
