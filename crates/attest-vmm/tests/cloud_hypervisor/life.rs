//! A machine from its start to its end.

use attest_protocol::message::{Request, Response};
use attest_vmm::{Card, EndingKind, Rate, Reboots};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{CloudHypervisor, Host, Session, listener, names_in, started};

#[tokio::test]
async fn a_whole_life() {
    let host = Host::new(CloudHypervisor::default());
    let place = host.place();
    let started = host.start_in(&place, host.machine()).await.0.unwrap();
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
    assert!(
        listener(&started).call().is_none(),
        "one that boots calls by itself"
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
async fn it_is_told_all_in_one_call_and_nothing_that_it_would_ignore() {
    let host = Host::new(CloudHypervisor::default());
    let mut machine = host.machine();
    let rate = Some(Rate {
        bytes_per_second: Some(1 << 20),
        operations_per_second: Some(1000),
    });
    machine.disks[1].rate = rate;
    machine.cards.push(Card {
        mac: [2, 0, 0, 0, 0, 2],
        rate,
    });
    let _started = host.start(machine).await.unwrap();
    let calls = host.last().calls();
    let what: Vec<_> = calls.iter().map(|call| &*call.what).collect();
    // The fake fails where there is a field that it does not know.
    assert_eq!(what, ["PUT vm.create", "PUT vm.boot"]);
}

#[tokio::test]
async fn what_is_typed_reaches_the_guest() {
    let (_host, mut started) = started(CloudHypervisor::default()).await;
    started.console.write_all(b"anybody there?").await.unwrap();
    let mut printed = [0; 14];
    started.console.read_exact(&mut printed).await.unwrap();
    assert_eq!(&printed, b"anybody there?");
}

#[tokio::test]
async fn memory_is_taken_back_where_there_is_a_balloon() {
    let (host, started) = started(CloudHypervisor::default()).await;
    let balloon = started.running.balloon().unwrap();
    balloon.inflate(1 << 20).await.unwrap();
    let asked = host.last().bodies("PUT vm.resize");
    assert_eq!(asked, [serde_json::json!({ "desired_balloon": 1 << 20 })]);
    let statistics = balloon.statistics().await.unwrap();
    assert_eq!((statistics.target, statistics.actual), (1 << 20, 1 << 20));
}

#[tokio::test]
async fn a_guest_reboots_in_place_where_it_may() {
    let (host, started) = started(CloudHypervisor::default()).await;
    let Reboots::InPlace(reboots) = started.running.reboots() else {
        panic!("it goes on running");
    };
    reboots.allow_reboot(true).await.unwrap();
    for _ in 0..3 {
        let session = Session::next(&started).await;
        session.run("write before").await.unwrap();
        let _ = session.ask(&Request::Reboot).await;
    }
    let session = Session::next(&started).await;
    reboots.allow_reboot(false).await.unwrap();
    let _ = session.ask(&Request::Reboot).await;
    let ending = started.running.ended().await;
    assert_eq!(ending.kind, EndingKind::Reset, "{ending:?}");
    assert_eq!(
        host.last().exited().await,
        attest_lab::ProcessExit::Signal(9)
    );
}

#[tokio::test]
async fn one_that_nobody_has_any_more_ends() {
    let (host, started) = started(CloudHypervisor::default()).await;
    drop(started);
    assert_eq!(
        host.last().exited().await,
        attest_lab::ProcessExit::Signal(9)
    );
}
