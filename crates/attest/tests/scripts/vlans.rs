//! VLANs, and machines that are added.

use attest::Error;
use attest::scripts::{ScriptKind, ScriptMachine, ScriptsError};
use attest_fixture::{Fixture, Node};

use crate::support::Scene;

/// Whether this host has what VLANs are made of.
fn no_switch() -> bool {
    let missing = attest_vmm::installed_program("vde_switch", "no VLANs without it");
    if let Err(reason) = &missing {
        eprintln!("SKIPPED: {reason}");
    }
    missing.is_err()
}

#[tokio::test]
async fn two_machines_meet_on_a_vlan() {
    if no_switch() {
        return;
    }
    let nodes = [Node::new("a", 1).on(&[1]), Node::new("b", 2).on(&[1])];
    let Some(mut scene) = Scene::of(&nodes) else {
        return;
    };
    scene.plan.vlans = vec![1, 1];
    let lab = scene.lab().await.unwrap();
    assert_eq!(lab.vlans().len(), 1, "one VLAN, named twice");
    let vlan = &lab.vlans()[0];
    assert_eq!(vlan.socket_dir(), scene.base().join("vde1.ctl"));
    lab.start_all().await.unwrap();
    let (a, b) = (lab.machine("a").unwrap(), lab.machine("b").unwrap());
    a.wait_until_succeeds("ping -c 1 -W 1 192.168.1.2")
        .await
        .unwrap();
    a.link(false).await.unwrap();
    b.wait_until_fails("ping -c 1 -W 1 192.168.1.1")
        .await
        .unwrap();
    a.link(true).await.unwrap();
    b.wait_until_succeeds("ping -c 1 -W 1 192.168.1.1")
        .await
        .unwrap();
    // A third, made later.
    let script = Fixture::new()
        .unwrap()
        .write(scene.directory.path(), &Node::new("c", 3).on(&[1]))
        .unwrap();
    let machine = ScriptMachine {
        name: "c".to_owned(),
        command: script.display().to_string(),
        kind: ScriptKind::Vm,
    };
    let c = lab.add_script_machine(&machine, false).unwrap();
    c.connect(None).await.unwrap();
    c.wait_until_succeeds("ping -c 1 -W 1 192.168.1.1")
        .await
        .unwrap();
    let again = lab.add_script_machine(&machine, false).unwrap_err();
    assert!(
        matches!(&again, Error::Scripts(ScriptsError::SameName(name)) if name == "c"),
        "{again}"
    );
    lab.shutdown().await;
}

#[tokio::test]
async fn equal_names_and_addresses_are_refused() {
    let mut scene = Scene::of_script("#!/bin/sh\nexec qemu -device x,mac=52:54:00:12:01:01\n");
    let path = scene.plan.machines[0].command.clone();
    scene.add("b", path.as_ref());
    let error = scene.lab().await.unwrap_err().chain();
    assert!(
        error.contains("a and b") && error.contains("52:54:00:12:01:01"),
        "{error}"
    );
    scene.plan.machines[1].name = "a".to_owned();
    let error = scene.lab().await.unwrap_err().chain();
    assert!(error.contains("two machines `a`"), "{error}");
    scene.plan.machines[1].name = "../a".to_owned();
    let error = scene.lab().await.unwrap_err().chain();
    assert!(error.contains("`../a` cannot be"), "{error}");
}
