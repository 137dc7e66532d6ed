//! A machine's life: boots, ends and all between.

use std::time::{Duration, SystemTime};

use attest::events::MachineEnding;
use attest::manifest::Size;
use attest::{Error, Lab, LabBuilder, Result};

use crate::support::{LONG, failed, one, text};

#[attest::test(lab = one(), snapshots = "never")]
async fn a_machine_reboots_and_answers_again(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.shell("touch /tmp/before").await?;
    let boot = text(&a, "cat /proc/sys/kernel/random/boot_id").await?;
    a.reboot().await?;
    assert!(
        !a.shell("test -e /tmp/before")
            .ignore_status()
            .await?
            .success()
    );
    assert_ne!(text(&a, "cat /proc/sys/kernel/random/boot_id").await?, boot);
    // The console goes on in the same file.
    let console = std::fs::read_to_string(a.console_file()).unwrap();
    let starts = console.matches("PCI: Fatal: No config space").count();
    assert_eq!(starts, 2, "{console}");
    Ok(())
}

#[attest::test(lab = one())]
async fn a_machine_goes_off_and_on(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.power_off().await?;
    assert_eq!(a.vmm_pid().await, None);
    let off = failed(a.shell("true").await);
    assert_eq!(off.to_string(), "a: the machine is off; start it first");
    a.start().await?;
    assert_eq!(text(&a, "echo on").await?, "on\n");
    a.start().await?;
    a.kill().await;
    a.kill().await;
    assert!(matches!(failed(a.stats().await), Error::MachineOff { .. }));
    a.start().await?;
    assert_eq!(text(&a, "echo again").await?, "again\n");
    Ok(())
}

#[attest::test(lab = one())]
async fn a_guest_that_switches_itself_off_has_ended(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let ended = failed(a.exec(["poweroff", "-f"]).await);
    assert!(
        matches!(
            ended,
            Error::MachineEnded {
                ending: MachineEnding::PoweredOff,
                ..
            }
        ),
        "{ended:?}"
    );
    a.start().await?;
    // A reset that nobody asked for is an end as well.
    let ended = failed(a.exec(["reboot", "-f"]).await);
    assert!(
        matches!(
            ended,
            Error::MachineEnded {
                ending: MachineEnding::Reset,
                ..
            }
        ),
        "{ended:?}"
    );
    Ok(())
}

#[attest::test(lab = one())]
async fn qemu_has_no_balloon(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let inflated = a.balloon(64 << 20).await;
    for refused in [inflated, a.balloon_statistics().await.map(drop)] {
        let error = refused.unwrap_err();
        assert!(
            matches!(
                &error,
                attest::Error::Unsupported {
                    ability: "balloon",
                    backend: "qemu",
                    ..
                }
            ),
            "{error:?}"
        );
    }
    Ok(())
}

#[attest::test(lab = one())]
async fn a_machine_pauses_and_its_clock_is_set(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.pause().await?;
    let asked =
        tokio::time::timeout(Duration::from_millis(300), a.shell("true").into_future()).await;
    assert!(asked.is_err(), "a paused machine answered");
    a.resume().await?;
    a.shell("date -s 2001-02-03").await?;
    a.sync_clock().await?;
    let guest = a.stats().await?.clock_ns;
    let host = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let apart = host.abs_diff(Duration::from_nanos(guest));
    assert!(apart < Duration::from_secs(30), "{apart:?} apart");
    a.reseed(vec![5; 64]).await?;
    a.sync().await?;
    Ok(())
}

fn with_disks() -> LabBuilder {
    let disk = |size| attest::manifest::Disk {
        size: Some(size),
        ..Default::default()
    };
    Lab::builder().machine_with("a", |machine| {
        machine.disks = vec![disk(Size::from_mib(64)), disk(Size::from_mib(1 << 20))];
        machine.vcpus = Some(2);
        machine.memory = Some(Size::from_mib(192));
    })
}

#[attest::test(lab = with_disks())]
async fn a_machine_has_the_hardware_of_its_plan(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    assert_eq!(
        text(&a, "nproc; cat /sys/block/vd?/size").await?,
        "2\n131072\n2147483648\n"
    );
    assert_eq!(text(&a, "cat /sys/block/vd?/serial").await?, "disk0disk1");
    let stats = a.stats().await?;
    assert!(
        (150 << 20..192 << 20).contains(&stats.memory_total),
        "{stats:?}"
    );
    assert!(
        stats.memory_available < stats.memory_total && stats.agent_rss > 0,
        "{stats:?}"
    );
    assert!(
        0 < stats.userspace_ns
            && stats.userspace_ns < stats.agent_ns
            && stats.agent_ns < stats.uptime_ns,
        "{stats:?}"
    );
    // Frozen file systems take no writes; a list with one that cannot freeze none.
    let proc = failed(a.freeze(["/proc"]).await);
    assert!(proc.to_string().starts_with("a: freeze failed: "), "{proc}");
    Ok(())
}

fn q35() -> LabBuilder {
    Lab::builder().network("lan").machine_with("a", |machine| {
        machine.machine_type = Some(attest::manifest::MachineType::Q35);
    })
}

#[attest::test(lab = q35())]
async fn a_pc_works_like_a_microvm(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    assert!(text(&a, "ls /sys/bus/pci/devices").await?.lines().count() > 3);
    assert!(
        text(&a, "ip -4 addr show eth0")
            .await?
            .contains("192.168.1.1/24")
    );
    a.reboot().await?;
    a.power_off().await?;
    Ok(())
}

#[attest::test(lab = one())]
async fn the_monitor_answers_and_tells_its_events(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    assert!(a.monitor("info status").await?.contains("running"));
    let (_, before) = a.qmp_events(0).await?;
    a.pause().await?;
    let (events, next) = a.wait_for_qmp_events(before).await?;
    assert_eq!(events[0]["event"], "STOP");
    a.resume().await?;
    let (events, _) = a.wait_for_qmp_events(next).await?;
    assert_eq!(events[0]["event"], "RESUME");
    let error = failed(a.qmp("no-such", serde_json::json!({})).await);
    assert!(
        error.chain().contains("CommandNotFound"),
        "{}",
        error.chain()
    );
    Ok(())
}

#[attest::test(lab = one())]
async fn the_console_is_typed_at_and_read(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let reading = a
        .shell("read -r line < /dev/console; echo \"got $line\"")
        .timeout(LONG)
        .spawn()
        .await?;
    a.wait_for_process("bash|sh").timeout(LONG).await?;
    a.send_console("typed\n").await?;
    let mut reading = reading;
    let mut seen = Vec::new();
    loop {
        match reading.next().await? {
            attest::ChildEvent::Stdout(bytes) => seen.extend_from_slice(&bytes),
            attest::ChildEvent::Exited(_) => break,
            _ => {}
        }
    }
    assert_eq!(String::from_utf8_lossy(&seen), "got typed\n");
    Ok(())
}
