//! Every way in which a Cloud Hypervisor and its guest can end has its own name.

use attest_vmm::{EndingKind, VmmError};
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;

use crate::support::{Session, allow_reboot, end, is_missing, machine, send, start};

/// After this command, or request.
async fn after(command: &str) -> Result<(EndingKind, String, String), VmmError> {
    let host = start(machine()).await?;
    let session = Session::next(&host).await;
    let _ = session.run(command).await;
    let (ending, console) = end(host).await;
    Ok((ending.kind, ending.detail, console))
}

#[tokio::test]
async fn a_guest_that_ends_says_why_or_is_found_out() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let cases = [
        ("off", EndingKind::PoweredOff, "switched itself off"),
        ("panic", EndingKind::Panic, ""),
        ("reset", EndingKind::TripleFault, "without announcing it"),
    ];
    for (command, kind, detail) in cases {
        let (found, words, console) = after(command).await?;
        assert_eq!(found, kind, "{command}: {words} {console}");
        assert!(words.contains(detail), "{words}");
    }
    Ok(())
}

#[tokio::test]
async fn a_triple_fault_is_named_or_what_kvm_made_of_it() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let (kind, words, _) = after("crash").await?;
    // Where the kernel emulates every instruction, KVM has an error instead, and Cloud Hypervisor ends with 0.
    let is_error_of_kvm = kind == EndingKind::VmmCrashed && words.contains("InternalError");
    assert!(
        kind == EndingKind::TripleFault || is_error_of_kvm,
        "{kind:?}: {words}"
    );
    Ok(())
}

#[tokio::test]
async fn only_our_own_kill_is_called_one() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let host = start(machine()).await?;
    host.started.running.kill().await;
    for _ in 0..2 {
        let ending = host.started.running.ended().await;
        assert_eq!(ending.kind, EndingKind::Killed, "any number of times");
    }
    for (signal, detail) in [
        (Signal::SIGKILL, "signal 9"),
        (Signal::SIGTERM, "somebody's signal"),
    ] {
        let host = start(machine()).await?;
        // It listens to signals by then.
        let _session = Session::next(&host).await;
        send(host.started.running.pid(), signal);
        let (ending, _) = end(host).await;
        assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
        assert!(ending.detail.contains(detail), "{ending:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_stopped_one_can_be_killed() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let host = start(machine()).await?;
    send(host.started.running.pid(), Signal::SIGSTOP);
    host.started.running.kill().await;
    assert_eq!(host.started.running.ended().await.kind, EndingKind::Killed);
    Ok(())
}

#[tokio::test]
async fn one_that_nobody_has_any_more_ends() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    for waits in [false, true] {
        let mut machine = machine();
        machine.waits = waits;
        let mut host = start(machine).await?;
        drop(host.started.running);
        // It had the other end of this.
        let mut said = Vec::new();
        host.started.console.read_to_end(&mut said).await.unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn reboots_are_allowed_and_forbidden_while_it_runs() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let host = start(machine()).await?;
    let mut session = Session::next(&host).await;
    allow_reboot(&host, true).await;
    for _ in 0..3 {
        assert_eq!(
            session.run("count").await.unwrap(),
            "1",
            "it has booted anew"
        );
        let _ = session.run("reset").await;
        session = Session::next(&host).await;
    }
    allow_reboot(&host, false).await;
    let _ = session.run("reset").await;
    let (ending, _) = end(host).await;
    assert_eq!(ending.kind, EndingKind::TripleFault, "{ending:?}");
    Ok(())
}

#[tokio::test]
async fn a_panic_ends_it_also_where_reboots_are_allowed() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let host = start(machine()).await?;
    let session = Session::next(&host).await;
    allow_reboot(&host, true).await;
    let _ = session.run("panic").await;
    assert_eq!(end(host).await.0.kind, EndingKind::Panic);
    Ok(())
}
