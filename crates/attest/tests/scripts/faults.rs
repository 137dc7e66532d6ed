//! Start scripts with faults.

use std::time::Duration;

use attest::Error;
use attest::events::MachineEnding;
use attest_fixture::Node;

use crate::support::Scene;

#[tokio::test]
async fn a_script_that_ends_at_once_says_why() {
    let scene = Scene::of_script("#!/bin/sh\necho looking\necho no disk >&2\nexit 7\n");
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    let error = machine.start().await.unwrap_err().chain();
    for part in ["a: ", "exit code 7", "no disk", "looking"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!machine.is_running());
    lab.shutdown().await;
    drop((lab, machine));
    assert!(scene.warned("no disk").await, "its stderr is shown");
}

#[tokio::test]
async fn a_script_that_is_not_there_is_named() {
    let mut scene = Scene::empty();
    scene.add("a", "/does/not/exist/run-a-vm".as_ref());
    let lab = scene.lab().await.unwrap();
    let error = lab.machine("a").unwrap().start().await.unwrap_err().chain();
    assert!(
        error.contains("exit code 127") && error.contains("/does/not/exist/run-a-vm"),
        "{error}"
    );
    lab.shutdown().await;
}

#[tokio::test]
async fn a_script_that_demands_kvm_where_there_is_none_is_told_plainly() {
    let text = "#!/bin/sh\necho 'Could not access KVM kernel module: No such file or directory' >&2\n\
                echo 'qemu-kvm: failed to initialize kvm: No such file or directory' >&2\nexit 1\n";
    let scene = Scene::of_script(text);
    let lab = scene.lab().await.unwrap();
    let error = lab.machine("a").unwrap().start().await.unwrap_err().chain();
    assert!(error.contains("no KVM that can be used"), "{error}");
    lab.shutdown().await;
}

#[tokio::test]
async fn a_script_that_starts_no_qemu_is_given_up_in_time() {
    let mut scene = Scene::of_script(
        "#!/bin/sh\ntrap '' TERM HUP INT\necho thinking >&2\nsleep 1000 &\nwait\nsleep 1000\n",
    );
    scene.plan.timeouts.boot = Duration::from_millis(500);
    let lab = scene.lab().await.unwrap();
    let error = lab.machine("a").unwrap().start().await.unwrap_err().chain();
    assert!(
        error.contains("started no QEMU within 500ms") && error.contains("thinking"),
        "{error}"
    );
    lab.shutdown().await;
}

#[tokio::test]
async fn a_lab_ends_while_a_script_is_starting() {
    let scene = Scene::of_script("#!/bin/sh\necho busy > \"$SHARED_DIR/fifo\"\nexec sleep 1000\n");
    let lab = scene.lab().await.unwrap();
    let fifo = lab.shared_dir().unwrap().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let machine = lab.machine("a").unwrap();
    let starting = tokio::spawn(async move { machine.start().await });
    assert_eq!(tokio::fs::read(&fifo).await.unwrap(), b"busy\n");
    lab.shutdown().await;
    let error = starting.await.unwrap().unwrap_err().chain();
    assert!(error.contains("lab process ended"), "{error}");
}

#[tokio::test]
async fn a_script_whose_qemu_refuses_its_arguments_says_so() {
    let Some(scene) = Scene::of(&[Node::new("a", 1)]) else {
        return;
    };
    let mut scene = scene;
    scene
        .plan
        .environment
        .push(("QEMU_OPTS".into(), "-device no-such-device".into()));
    let lab = scene.lab().await.unwrap();
    let error = lab.machine("a").unwrap().start().await.unwrap_err().chain();
    assert!(
        error.contains("exit code 1") && error.contains("no-such-device"),
        "{error}"
    );
    lab.shutdown().await;
}

#[tokio::test]
async fn a_script_has_the_environment_of_its_start() {
    let scene = Scene::of_script("#!/bin/sh\necho \"$NIX_DISK_IMAGE, $TMPDIR\" >&2\nexit 1\n");
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    let said = |error: Error| error.chain();
    let before = said(machine.start().await.unwrap_err());
    assert!(before.contains(": , "), "{before}");
    lab.set_environment(vec![("NIX_DISK_IMAGE".into(), "/elsewhere".into())])
        .unwrap();
    let after = said(machine.start().await.unwrap_err());
    let state = machine.state_dir().unwrap().display();
    assert!(after.contains(&format!("/elsewhere, {state}")), "{after}");
    lab.shutdown().await;
}

#[tokio::test]
async fn a_crash_is_known_with_its_words() {
    let Some(mut scene) = Scene::of(&[Node::new("a", 1)]) else {
        return;
    };
    // A script that stays, ignores signals, and has something to say at its end.
    let script = scene.plan.machines[0].command.clone();
    let around = scene.directory.path().join("around");
    let text = format!(
        "#!/bin/sh\ntrap '' TERM\necho warning of the script >&2\n{script} \"$@\"\necho it is over >&2\nexit 9\n"
    );
    attest_fixture::write_script(&around, &text).unwrap();
    scene.plan.machines[0].command = around.display().to_string();
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    machine.connect(None).await.unwrap();
    machine.monitor("quit").await.unwrap();
    assert_eq!(machine.wait_ended().await, Some(MachineEnding::VmmCrashed));
    let Error::MachineEnded { detail, .. } = machine.ended().await else {
        panic!("it ended");
    };
    assert!(
        detail.contains("exit code 9") && detail.contains("it is over"),
        "{detail}"
    );
    // And one that is killed goes with all that it started.
    machine.start().await.unwrap();
    machine.kill().await;
    assert_eq!(machine.wait_ended().await, None);
    lab.shutdown().await;
    drop((lab, machine));
    assert!(
        scene.warned("warning of the script").await,
        "its stderr is shown"
    );
}

#[tokio::test]
async fn a_base_that_cannot_be_made_is_named() {
    let mut scene = Scene::empty();
    scene.plan.base = "/proc/nowhere".into();
    let error = scene.lab().await.unwrap_err().chain();
    assert!(error.contains("/proc/nowhere"), "{error}");
}

#[tokio::test]
async fn a_path_that_is_too_long_for_sockets_is_named() {
    let mut scene = Scene::of_script("#!/bin/sh\n");
    scene.plan.base = scene.base().join("x".repeat(100));
    let lab = scene.lab().await.unwrap();
    let error = lab.machine("a").unwrap().start().await.unwrap_err().chain();
    assert!(error.contains("108 bytes"), "{error}");
    lab.shutdown().await;
}
