//! Containers by start scripts.

use attest::events::MachineEnding;
use attest::scripts::{ScriptKind, ScriptMachine};
use attest_fixture::{Fixture, Node};

use crate::support::Scene;

/// A lab of one container, or `None` with the reason told.
fn scene() -> Option<Scene> {
    with_container(Scene::empty(), &Node::new("a", 1))
}

/// The scene with one more container, or `None` with the reason told.
fn with_container(mut scene: Scene, node: &Node) -> Option<Scene> {
    let able = attest_vmm::nspawn::probe()
        .map(drop)
        .and_then(|()| attest_vmm::installed_program("ip", "it is a part of iproute2").map(drop));
    let written = able.and_then(|()| {
        let written = Fixture::write_container(scene.directory.path(), node);
        written.map_err(|error| error.to_string())
    });
    match written {
        Ok(script) => {
            scene.plan.machines.push(ScriptMachine {
                name: node.name.clone(),
                command: script.display().to_string(),
                kind: ScriptKind::Container,
            });
            Some(scene)
        }
        Err(reason) => {
            eprintln!("SKIPPED: {reason}");
            None
        }
    }
}

#[tokio::test]
async fn a_container_is_entered_and_ends_as_it_is_told() {
    let Some(scene) = scene() else { return };
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    let first = machine.connect(None).await.unwrap();
    assert!(first.is_agent);
    let said = machine
        .shell("echo $FIXTURE $PWD; cat /proc/1/comm; readlink /proc/self/ns/net")
        .await
        .unwrap();
    let said = said.text();
    assert!(said.starts_with("profile /\ninit\n"), "{said}");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(
        !said.contains(own.to_str().unwrap()),
        "a network of its own: {said}"
    );
    std::fs::write(lab.shared_dir().unwrap().join("from-host"), "shared").unwrap();
    let shared = machine.shell("cat /tmp/shared/from-host").await.unwrap();
    assert_eq!(shared.text(), "shared");
    assert!(machine.console_text().contains("Welcome to the fixture!"));
    assert!(machine.monitor("info name").await.is_err());
    machine
        .shell("(sleep 0.1; poweroff) > /dev/null 2>&1 &")
        .await
        .unwrap();
    assert_eq!(machine.wait_ended().await, Some(MachineEnding::PoweredOff));
    let second = machine.connect(None).await.unwrap();
    assert_ne!(first.token, second.token);
    machine.kill().await;
    assert!(!machine.is_running());
    let third = machine.connect(None).await.unwrap();
    assert_ne!(second.token, third.token);
    lab.shutdown().await;
    assert!(!std::path::Path::new("/run/netns/fixture-a").exists());
}

#[tokio::test]
async fn a_container_whose_script_fails_says_why() {
    let Some(mut scene) = scene() else { return };
    let path = scene.directory.path().join("run-a-nspawn");
    attest_fixture::write_script(&path, "#!/bin/sh\necho no root >&2\nexit 5\n").unwrap();
    scene.plan.machines[0].command = path.display().to_string();
    let lab = scene.lab().await.unwrap();
    let error = lab.machine("a").unwrap().start().await.unwrap_err().chain();
    assert!(
        error.contains("exit code 5") && error.contains("no root"),
        "{error}"
    );
    lab.shutdown().await;
}

#[tokio::test]
async fn containers_and_virtual_machines_meet_on_a_vlan() {
    let Some(scene) = Scene::of(&[Node::new("vm", 1).on(&[1])]) else {
        return;
    };
    let able = attest_vmm::installed_program("vde_plug2tap", "it is a part of vde2");
    if let Err(reason) = able {
        eprintln!("SKIPPED: {reason}");
        return;
    }
    let Some(scene) = with_container(scene, &Node::new("a", 2).on(&[1])) else {
        return;
    };
    let Some(mut scene) = with_container(scene, &Node::new("b", 3).on(&[1])) else {
        return;
    };
    scene.plan.vlans = vec![1];
    let bridges = || std::path::Path::new("/sys/class/net/br1").exists();
    let before = bridges();
    let lab = scene.lab().await.unwrap();
    lab.start_all().await.unwrap();
    let machine = |name| lab.machine(name).unwrap();
    machine("a")
        .wait_until_succeeds("ping -c 1 -W 1 192.168.1.3")
        .await
        .unwrap();
    machine("a")
        .wait_until_succeeds("ping -c 1 -W 1 192.168.1.1")
        .await
        .unwrap();
    machine("vm")
        .wait_until_succeeds("ping -c 1 -W 1 192.168.1.3")
        .await
        .unwrap();
    assert_eq!(bridges(), before, "the host's network is as it was");
    lab.shutdown().await;
}
