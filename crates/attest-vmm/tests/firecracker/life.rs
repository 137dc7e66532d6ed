//! A machine from its start to its end.

use attest_protocol::message::{Request, Response};
use attest_vmm::{Ability, Backend, EndingKind, Reboots, Told, Wanted};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fake::Firecracker;
use crate::support::{Host, Session, end, listener, names_in, started};

#[tokio::test]
async fn a_whole_life() {
    let host = Host::new(Firecracker::default());
    let place = host.place();
    let (started, mut told) = host.start_in(&place, host.machine()).await;
    let started = started.unwrap();
    let booted = told.recv().await.unwrap();
    assert!(
        matches!(booted, Told::Booted(time) if time.as_micros() == 123_456),
        "{booted:?}"
    );
    let session = Session::next(&started).await;
    assert_eq!(session.run("echo hello").await.unwrap(), "hello");
    let pause = started.running.pause().unwrap();
    pause.pause().await.unwrap();
    pause.resume().await.unwrap();
    assert_eq!(session.run("echo again").await.unwrap(), "again");
    assert!(matches!(
        session.ask(&Request::Quiesce).await.unwrap(),
        Response::Quiesced(left) if left.is_empty()
    ));
    assert!(matches!(started.running.reboots(), Reboots::Anew));
    assert!(
        listener(&started).call().is_none(),
        "its guest calls by itself"
    );
    started.running.kill().await;
    let ending = started.running.ended().await;
    assert_eq!(ending.kind, EndingKind::Killed, "{ending:?}");
    let names = [
        "api",
        "disk0",
        "disk1",
        "initrd",
        "kernel",
        "log",
        "vsock",
        "vsock_1024",
    ];
    assert_eq!(
        names_in(&place),
        names,
        "all that is left is what goes with its directory"
    );
}

#[tokio::test]
async fn it_is_told_all_of_the_machine_before_it_starts() {
    let (host, _started) = started(Firecracker::default()).await;
    let calls = host.last().calls();
    let what: Vec<_> = calls.iter().map(|call| &*call.what).collect();
    let expected = [
        "PUT /machine-config",
        "PUT /boot-source",
        "PUT /drives/disk0",
        "PUT /drives/disk1",
        "PUT /network-interfaces/card0",
        "PUT /vsock",
        "PUT /entropy",
        "PUT /balloon",
        "PUT /actions",
    ];
    assert_eq!(what, expected);
    let sizes = json!({ "vcpu_count": 2, "mem_size_mib": 2 });
    assert_eq!(calls[0].body, sizes);
}

#[tokio::test]
async fn what_is_typed_reaches_the_guest() {
    let (_host, mut started) = started(Firecracker::default()).await;
    started.console.write_all(b"anybody there?").await.unwrap();
    let mut printed = [0; 14];
    started.console.read_exact(&mut printed).await.unwrap();
    assert_eq!(&printed, b"anybody there?");
}

#[tokio::test]
async fn memory_is_taken_back_where_there_is_a_balloon() {
    let (host, started) = started(Firecracker::default()).await;
    let balloon = started.running.balloon().unwrap();
    balloon.inflate(1 << 20).await.unwrap();
    let asked = host.last().bodies("PATCH /balloon");
    assert_eq!(asked, [json!({ "amount_mib": 1 })]);
    let statistics = balloon.statistics().await.unwrap();
    assert_eq!((statistics.target, statistics.actual), (1 << 20, 1 << 20));
    assert_eq!(statistics.free, None, "the guest does not tell");
    let mut machine = host.machine();
    machine.balloon = false;
    let without = host.start(machine).await.unwrap();
    assert!(without.running.balloon().is_none());
    assert!(host.last().bodies("PUT /balloon").is_empty());
}

#[tokio::test]
async fn many_devices_go_over_pci() {
    let host = Host::new(Firecracker::default());
    let mut machine = host.machine();
    machine.cards = (0..14)
        .map(|number| attest_vmm::Card {
            mac: [2, 0, 0, 0, 0, number],
            rate: None,
        })
        .collect();
    let _started = host.start(machine).await.unwrap();
    assert!(host.last().args.contains(&"--enable-pci".to_owned()));
    let as_many = Wanted {
        machine: "web".to_owned(),
        abilities: vec![Ability::Networks],
        vcpus: 33,
        ..Wanted::default()
    };
    let refusal = host.backend.check(&as_many).unwrap_err().to_string();
    assert!(refusal.contains("at most 32 virtual CPUs"), "{refusal}");
}

#[tokio::test]
async fn every_supported_version_runs() {
    for version in [
        (1, 12, 0),
        (1, 13, 1),
        (1, 14, 0),
        (1, 15, 1),
        (1, 16, 2),
        (1, 17, 0),
    ] {
        let host = Host::new(Firecracker {
            version,
            ..Firecracker::default()
        });
        let (started, mut told) = host.start_in(&host.place(), host.machine()).await;
        let started = started.unwrap();
        assert!(
            matches!(told.recv().await, Some(Told::Booted(_))),
            "{version:?}"
        );
        let session = Session::next(&started).await;
        assert_eq!(session.run("echo hello").await.unwrap(), "hello");
    }
}

#[tokio::test]
async fn the_guest_powers_off_and_its_vmm_is_ended() {
    let (host, started) = started(Firecracker::default()).await;
    let session = Session::next(&started).await;
    let _ = session.ask(&Request::PowerOff).await;
    let (ending, console) = end(started).await;
    assert_eq!(ending.kind, EndingKind::PoweredOff, "{ending:?}");
    assert!(console.contains("reboot: Power down"), "{console}");
    // It would have stayed.
    assert_eq!(
        host.last().exited().await,
        attest_lab::ProcessExit::Signal(9)
    );
}

#[tokio::test]
async fn one_that_nobody_has_any_more_ends() {
    let (host, started) = started(Firecracker::default()).await;
    drop(started);
    assert_eq!(
        host.last().exited().await,
        attest_lab::ProcessExit::Signal(9)
    );
}
