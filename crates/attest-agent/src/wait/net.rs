//! TCP ports and Unix sockets: the kernel tells nobody when one begins to listen, so a cheap
//! connect is tried at short intervals, without a process per try.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use attest_protocol::message::Failure;
use tokio::net::{TcpStream, UnixDatagram, UnixStream};

use super::backoff::Backoff;
use super::{Seen, file};

/// Between tries: 8 ms leaves room for the way back within the budget of 10 ms, and costs less
/// than a hundredth of an emulated processor.
const YOUNG: Duration = Duration::from_millis(8);
const OLD: Duration = Duration::from_millis(50);

/// Addresses of a host, by its form or `/etc/hosts`: a static program has no name service.
pub(crate) fn resolve(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    if host == "localhost" {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    addresses_in(&fs::read_to_string("/etc/hosts").unwrap_or_default(), host)
}

fn addresses_in(hosts: &str, host: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        if let Some(address) = address
            && words.any(|name| name == host)
        {
            addresses.push(address);
        }
    }
    addresses
}

async fn dial(host: &str, port: u16) -> Result<(), String> {
    let addresses = resolve(host);
    if addresses.is_empty() {
        return Err(format!("no address of `{host}` is known"));
    }
    let mut last = String::new();
    for address in addresses {
        match TcpStream::connect((address, port)).await {
            Ok(_) => return Ok(()),
            Err(error) => last = format!("{address}: {}", reason(&error)),
        }
    }
    Err(last)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

pub(super) async fn port_open(host: &str, port: u16, seen: &Seen) {
    let mut backoff = Backoff::new(YOUNG, OLD);
    while let Err(error) = dial(host, port).await {
        seen.set(error);
        backoff.pause().await;
    }
}

pub(super) async fn port_closed(host: &str, port: u16, seen: &Seen) {
    let mut backoff = Backoff::new(YOUNG, OLD);
    while dial(host, port).await.is_ok() {
        seen.set("it accepts connections");
        backoff.pause().await;
    }
}

pub(super) async fn unix_socket(path: &[u8], seen: &Seen) -> Result<(), Failure> {
    let mut backoff = Backoff::new(YOUNG, OLD);
    loop {
        file::exists(path, seen).await?;
        match dial_unix(Path::new(OsStr::from_bytes(path))).await {
            Ok(()) => return Ok(()),
            Err(error) => seen.set(format!("it exists; {}", reason(&error))),
        }
        backoff.pause().await;
    }
}

async fn dial_unix(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path).await {
        // Not a stream socket.
        Err(error) if error.raw_os_error() == Some(nix::libc::EPROTOTYPE) => {
            UnixDatagram::unbound()?.connect(path)
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        let hosts =
            "127.0.0.1 localhost\n192.168.1.1 server server.lan # the first\nfd00::1 server\n";
        assert_eq!(addresses_in(hosts, "server").len(), 2);
        assert!(addresses_in(hosts, "the").is_empty());
        assert_eq!(resolve("10.0.0.1"), [IpAddr::from([10, 0, 0, 1])]);
    }

    #[tokio::test]
    async fn a_port_that_opens_is_seen_and_one_that_closes() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let seen = Seen::default();
        let opening = async {
            // Only after a try has failed.
            while seen.get().is_none() {
                tokio::task::yield_now().await;
            }
            tokio::net::TcpListener::bind(address).await.unwrap()
        };
        let ((), listener) = tokio::join!(port_open("127.0.0.1", address.port(), &seen), opening);
        assert_eq!(seen.get().unwrap(), "127.0.0.1: connection refused");
        let closing = Seen::default();
        let close = async {
            while closing.get().is_none() {
                tokio::task::yield_now().await;
            }
            drop(listener);
        };
        tokio::join!(port_closed("127.0.0.1", address.port(), &closing), close);
    }

    #[tokio::test]
    async fn a_socket_must_accept_not_only_exist() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        fs::write(&path, "").unwrap();
        let seen = Seen::default();
        let replace = async {
            while !seen
                .get()
                .is_some_and(|text| text.contains("connection refused"))
            {
                tokio::task::yield_now().await;
            }
            fs::remove_file(&path).unwrap();
            UnixDatagram::bind(&path).unwrap()
        };
        let (met, _socket) = tokio::join!(unix_socket(path.as_os_str().as_bytes(), &seen), replace);
        met.unwrap();
    }
}
