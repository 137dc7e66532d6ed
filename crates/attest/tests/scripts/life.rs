//! From start to end: a console, a shell, monitors, reboots.

use attest::events::MachineEnding;
use attest::scripts::AgentUse;
use attest_fixture::Node;
use serde_json::json;

use crate::support::Scene;

#[tokio::test]
async fn a_machine_starts_runs_commands_and_powers_off() {
    let Some(scene) = Scene::of(&[Node::new("a", 1)]) else {
        return;
    };
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    assert!(!machine.is_running());
    assert_eq!(machine.wait_ended().await, None);
    assert!(machine.start_with(false).await.unwrap());
    assert!(!machine.start_with(false).await.unwrap());
    let session = machine.connect(None).await.unwrap();
    assert!(!session.is_agent);
    assert_eq!(machine.shell("hostname").await.unwrap().text(), "a\n");
    let failing = machine.shell("exit 3").await.unwrap_err();
    assert!(
        failing.chain().contains("exit code 3"),
        "{}",
        failing.chain()
    );

    let kvm = machine.monitor("info name").await.unwrap();
    assert!(kvm.contains("\r\na\r\n(qemu) "), "{kvm:?}");
    let name = machine.qmp("query-name", json!({})).await.unwrap();
    assert_eq!(name, json!({ "name": "a" }));
    let error = machine.qmp("no-such", json!({})).await.unwrap_err();
    assert!(
        error.chain().contains("CommandNotFound"),
        "{}",
        error.chain()
    );
    let (_, before) = machine.qmp_events(0).await.unwrap();
    machine.qmp("stop", json!({})).await.unwrap();
    let (events, next) = machine.wait_for_qmp_events(before).await.unwrap();
    assert_eq!(events[0]["event"], "STOP");
    assert!(events[0]["timestamp"]["seconds"].is_u64());
    assert_eq!(machine.qmp_events(next).await.unwrap(), (vec![], next));
    machine.resume().await.unwrap();

    // The shell's stderr is the console's.
    machine.shell("echo to the console >&2").await.unwrap();
    machine
        .wait_for_console_text("to the console")
        .await
        .unwrap();
    machine
        .shell("(read -r line < /dev/ttyS0; echo $line > /tmp/typed) > /dev/null 2>&1 & stty -F /dev/ttyS0 -echo")
        .await
        .unwrap();
    machine.send_console("typed by hand\n").await.unwrap();
    machine
        .wait_for_text_in_file("/tmp/typed", "typed by hand")
        .await
        .unwrap();
    assert!(
        machine.state_dir().unwrap().join("a.img").exists(),
        "the disk is in the state directory"
    );
    machine.power_off().await.unwrap();
    assert!(!machine.is_running());
    let console = machine.next_console_lines(0).await;
    let text = String::from_utf8_lossy(&console.text).into_owned();
    assert!(text.contains("reboot: Power down"), "{text}");
    assert!(console.ended);
    lab.shutdown().await;
}

#[tokio::test]
async fn the_guest_may_end_itself_and_start_again() {
    let Some(scene) = Scene::of(&[Node::new("a", 1)]) else {
        return;
    };
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    let first = machine.connect(None).await.unwrap();
    machine
        .shell("echo first > /dev/ttyS0; (sleep 0.1; poweroff) > /dev/null 2>&1 &")
        .await
        .unwrap();
    assert_eq!(machine.wait_ended().await, Some(MachineEnding::PoweredOff));
    let (events, _) = machine.qmp_events(0).await.unwrap();
    assert!(
        events.iter().any(|event| event["event"] == "SHUTDOWN"),
        "{events:?}"
    );
    assert!(machine.start_with(false).await.unwrap());
    let second = machine.connect(None).await.unwrap();
    assert_ne!(first.token, second.token);
    let console = machine.console_lines(0);
    let text = String::from_utf8_lossy(&console.text).into_owned();
    assert!(!text.contains("first"), "of this start only: {text}");
    assert!(machine.console_text().contains("first"));
    machine
        .shell("(sleep 0.1; reboot) > /dev/null 2>&1 &")
        .await
        .unwrap();
    assert_eq!(machine.wait_ended().await, Some(MachineEnding::Reset));
    lab.shutdown().await;
}

#[tokio::test]
async fn the_agent_is_put_in_through_the_shell_at_each_boot() {
    let Some(mut scene) = Scene::of(&[Node::new("a", 1)]) else {
        return;
    };
    scene.plan.agent = AgentUse::Auto;
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    machine.start_with(true).await.unwrap();
    let first = machine.connect(None).await.unwrap();
    assert!(first.is_agent);
    let output = machine
        .shell("echo $HOME $PWD $DISPLAY; echo kept >&2")
        .await
        .unwrap();
    assert_eq!(output.text(), "/root /tmp :0.0\n");
    assert_eq!(output.stderr, b"kept\n");
    let (slow, quick) = tokio::join!(
        machine.shell("until test -e /tmp/go; do sleep 0.05; done"),
        async { machine.shell("touch /tmp/go").await }
    );
    slow.unwrap();
    quick.unwrap();
    machine
        .shell("(sleep 0.1; reboot) > /dev/null 2>&1 &")
        .await
        .unwrap();
    let second = machine.connect(Some(first.token)).await.unwrap();
    assert!(second.is_agent);
    machine.power_off().await.unwrap();
    lab.shutdown().await;
}

#[tokio::test]
async fn a_machine_that_may_reboot_does() {
    let Some(scene) = Scene::of(&[Node::new("a", 1)]) else {
        return;
    };
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    machine.start_with(true).await.unwrap();
    let first = machine.connect(None).await.unwrap();
    let pid = machine.vmm_pid().await;
    machine
        .shell("(sleep 0.1; reboot) > /dev/null 2>&1 &")
        .await
        .unwrap();
    let second = machine.connect(Some(first.token)).await.unwrap();
    assert_ne!(first.token, second.token);
    assert_eq!(machine.vmm_pid().await, pid);
    // Attest's own reboot, by the same shell.
    machine.reboot().await.unwrap();
    assert_eq!(machine.vmm_pid().await, pid);
    machine.monitor("quit").await.unwrap();
    assert_eq!(machine.wait_ended().await, Some(MachineEnding::PoweredOff));
    lab.shutdown().await;
}
