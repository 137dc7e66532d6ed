//! The control socket of the process itself, without the library's driver side.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

fn pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

/// Start it with this datagram waiting; give its exit code and what it reported.
fn answer_to(datagram: &[u8]) -> (Option<i32>, Vec<String>) {
    let (ours, theirs) = pair();
    rustix::net::send(&ours, datagram, SendFlags::empty()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_attest-lab"))
        .stdin(theirs)
        .spawn()
        .unwrap();
    let mut reports = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let (length, _) = rustix::net::recv(&ours, &mut buffer, RecvFlags::empty()).unwrap();
        if length == 0 {
            break;
        }
        reports.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    (child.wait().unwrap().code(), reports)
}

#[test]
fn garbage_ends_the_lab_with_a_reason() {
    let deep = vec![0x81; 4000];
    // Says that an array of 2^60 elements follows.
    let huge = [
        0x82, 0x00, 0x82, 0x02, 0x81, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0,
    ];
    for datagram in [b"garbage".as_slice(), &deep, &huge, &[0]] {
        let (code, reports) = answer_to(datagram);
        if reports
            .iter()
            .any(|report| report.contains("make its namespaces"))
        {
            eprintln!("skipped: garbage_ends_the_lab_with_a_reason: {reports:?}");
            return;
        }
        assert_eq!(code, Some(76), "{reports:?}");
        let last = reports.last().unwrap();
        assert!(
            last.contains("it was sent what is no request"),
            "{reports:?}"
        );
    }
}

#[test]
fn started_by_hand_it_says_so() {
    let child = Command::new(env!("CARGO_BIN_EXE_attest-lab"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let mut said = String::new();
    output.stderr.as_slice().read_to_string(&mut said).unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        said.starts_with("attest-lab is started by attest"),
        "{said}"
    );
}
