//! What cannot be run is refused, with the reason.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use attest_vmm::{
    Ability, Accelerator, Backend, Card, CloudHypervisor, DiskFormat, VmmError, Wanted,
};

use crate::support::{Host, chain, disk, is_missing, machine, start, start_with};

fn refusal(result: Result<Host, VmmError>) -> (VmmError, String) {
    let Err(error) = result else {
        panic!("it was not refused");
    };
    let words = chain(&error);
    (error, words)
}

/// A program that does this, and says that it is a Cloud Hypervisor.
fn program(does: &str) -> (tempfile::TempDir, CloudHypervisor) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cloud-hypervisor");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo cloud-hypervisor v53.0.0\n{does}\n"
    );
    // Written by another program: one that is open here might be so in what another test starts just then, and cannot
    // be started.
    let mut writing = Command::new("sh");
    writing.args(["-c", "printf %s \"$1\" > \"$0\" && chmod +x \"$0\""]);
    assert!(writing.arg(&path).arg(script).status().unwrap().success());
    let backend = CloudHypervisor::of(&path, directory.path());
    (directory, backend)
}

#[tokio::test]
async fn a_vmm_that_is_none_is_known_before_and_after_it_starts() {
    let place = tempfile::tempdir().unwrap();
    let missing = CloudHypervisor::of(Path::new("/nonexistent/ch"), place.path());
    let error = start_with(&missing, place.path(), machine(), &[])
        .await
        .unwrap_err();
    assert!(
        chain(&error).contains("nixpkgs#cloud-hypervisor"),
        "{error:?}"
    );
    let (_directory, breaks) = program("echo no memory >&2; exit 3");
    let error = start_with(&breaks, place.path(), machine(), &[])
        .await
        .unwrap_err();
    assert_eq!(
        chain(&error),
        "web: Cloud Hypervisor ended with exit code 3 before it ran the guest: no memory"
    );
}

#[tokio::test]
async fn a_kernel_of_the_wrong_kind_is_refused_in_its_words() {
    if is_missing() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel");
    fs::write(&path, "no kernel at all").unwrap();
    let mut other = machine();
    other.kernel = path;
    let (error, words) = refusal(start(other).await);
    assert!(matches!(error, VmmError::Api { .. }), "{error:?}");
    assert!(
        words.starts_with("web: Cloud Hypervisor did not start the guest"),
        "{words}"
    );
    assert!(words.contains("kernel"), "{words}");
    let mut missing = machine();
    missing.kernel = "/nonexistent/kernel".into();
    let (error, _) = refusal(start(missing).await);
    assert!(matches!(error, VmmError::Host { .. }), "{error:?}");
}

#[tokio::test]
async fn disks_that_it_cannot_have_are_refused() {
    if is_missing() {
        return;
    }
    let with = |file: fs::File| {
        let mut machine = machine();
        machine.disks = vec![disk("data", file.into(), false)];
        machine
    };
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let mut qcow2 = with(file.try_clone().unwrap());
    qcow2.disks[0].file.format = DiskFormat::Qcow2;
    let (_, words) = refusal(start(qcow2).await);
    assert!(words.contains("raw disks only"), "{words}");
    // No two write to one file.
    let first = start(with(file.try_clone().unwrap())).await.unwrap();
    let (_, words) = refusal(start(with(file)).await);
    assert!(words.to_lowercase().contains("lock"), "{words}");
    first.started.running.kill().await;
}

#[tokio::test]
async fn a_network_that_is_no_tap_is_refused() {
    if is_missing() {
        return;
    }
    let mut machine = machine();
    machine.cards = vec![Card {
        mac: [2, 0, 0, 0, 0, 1],
        rate: None,
    }];
    let place = tempfile::tempdir().unwrap();
    let backend = CloudHypervisor::new(place.path());
    let error = start_with(&backend, place.path(), machine, &["lo"])
        .await
        .unwrap_err();
    let words = chain(&error);
    assert!(words.to_lowercase().contains("tap"), "{words}");
}

#[tokio::test]
async fn a_place_that_is_taken_is_refused() {
    if is_missing() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("api"), "").unwrap();
    let backend = CloudHypervisor::new(place.path());
    let error = start_with(&backend, place.path(), machine(), &[])
        .await
        .unwrap_err();
    match error {
        VmmError::Host { source, .. } => assert_eq!(source.kind(), ErrorKind::AddrInUse),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_it_lacks_or_has_no_room_for_is_refused_early() {
    let (_directory, backend) = program("");
    let refusal = |wanted: &Wanted| backend.check(wanted).unwrap_err().to_string();
    let wanted = Wanted {
        machine: "web".to_owned(),
        vcpus: 1,
        accelerator: Some(Accelerator::Tcg),
        ..Wanted::default()
    };
    assert!(refusal(&wanted).contains("KVM only"));
    let jailed = Wanted {
        abilities: vec![Ability::Jailer],
        ..wanted.clone()
    };
    assert!(refusal(&jailed).contains("has no jailer: Landlock"));
    let large = Wanted {
        vcpus: 255,
        ..wanted
    };
    assert!(refusal(&large).contains("at most 254 virtual CPUs"));
}
