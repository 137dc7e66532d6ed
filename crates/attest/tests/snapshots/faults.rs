//! What is in the way of a snapshot, and what becomes of all that is under way.

use std::fs;
use std::future::IntoFuture as _;
use std::time::Instant;

use attest::events::{EventKind, MachineEnding};
use attest::manifest::{Backend, Disk};
use attest::{Error, Lab, LabContext, Recorder, Result, Run};

use crate::support::{LONG, failed, one, silent, text};
use crate::{two, with_scratch};

const SUPERSEDED: &str = "a: it was saved or put back meanwhile, which ends all that is under way; save a lab when \
                          nothing is, and start in the background what is to outlive that";

#[attest::test(lab = one())]
async fn what_is_under_way_ends_and_what_is_in_the_background_goes_on(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.shell("sleep 1000 & echo $! > /tmp/background").await?;
    let command = a.shell("echo $$ > /tmp/command; echo > /tmp/begun; exec sleep 1000");
    let command = tokio::spawn(command.into_future());
    let wait = tokio::spawn(a.wait_for_file("/tmp/none").timeout(LONG).into_future());
    a.wait_for_file("/tmp/begun").timeout(LONG).await?;
    let snapshot = lab.snapshot().await?;
    let ended = failed(command.await.expect("no panic"));
    assert!(matches!(ended, Error::Superseded { .. }), "{ended:?}");
    assert_eq!(ended.to_string(), SUPERSEDED);
    let ended = failed(wait.await.expect("no panic"));
    assert!(matches!(ended, Error::Superseded { .. }), "{ended:?}");
    let fork = snapshot.fork().await?;
    for lab in [&lab, &fork] {
        let a = lab.machine("a")?;
        a.wait_until_fails("kill -0 $(cat /tmp/command)")
            .timeout(LONG)
            .await?;
        a.shell("kill -0 $(cat /tmp/background)").await?;
    }
    fork.shutdown().await;
    // To be put back is the same for what is under way.
    a.shell("rm /tmp/begun").await?;
    let command = tokio::spawn(a.shell("echo > /tmp/begun; sleep 1000").into_future());
    a.wait_for_file("/tmp/begun").timeout(LONG).await?;
    lab.restore(&snapshot).await?;
    let ended = failed(command.await.expect("no panic"));
    assert_eq!(ended.to_string(), SUPERSEDED);
    Ok(())
}

#[attest::test(lab = two())]
async fn a_machine_that_died_is_named_and_the_others_go_on(lab: Lab) -> Result<()> {
    let (a, b) = (lab.machine("a")?, lab.machine("b")?);
    b.shell("touch /since").await?;
    a.shell("(sleep 0.1; echo c > /proc/sysrq-trigger) &")
        .await?;
    assert_eq!(a.wait_ended().await, Some(MachineEnding::Panic));
    let error = failed(lab.snapshot().await);
    assert_eq!(
        error.to_string(),
        "a: the machine ended (kernel panic): sysrq triggered crash"
    );
    b.shell("test -e /since").await?;
    // The others can be saved as soon as it is off, or runs again.
    a.kill().await;
    let fork = lab.snapshot().await?.fork().await?;
    fork.machine("b")?.shell("test -e /since").await?;
    fork.shutdown().await;
    b.shell("test -e /since").await?;
    Ok(())
}

/// The processes of this name that have the same parent as this one, without itself.
fn siblings(pid: u32, name: &str) -> Vec<u32> {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let status = read(format!("/proc/{pid}/status"));
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let parent: u32 = parent.expect("a parent").trim().parse().expect("a number");
    let threads = fs::read_dir(format!("/proc/{parent}/task")).expect("it runs");
    let children = threads
        .flatten()
        .map(|thread| read(format!("{}/children", thread.path().display())));
    children
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().expect("a number"))
                .collect::<Vec<_>>()
        })
        .filter(|one| *one != pid && read(format!("/proc/{one}/comm")).starts_with(name))
        .collect()
}

#[test]
fn machines_of_a_lab_that_does_not_go_on_are_off_and_nothing_is_left_of_them() {
    let output = tempfile::tempdir().unwrap();
    let source = output.path().join("data.raw");
    let make = || fs::write(&source, [0; 4096]).unwrap();
    make();
    let disk = Disk {
        source: Some(source.clone()),
        ..Disk::default()
    };
    let test = async {
        let builder = Lab::builder()
            .machine("b")
            .machine_with("a", |machine| machine.disks = vec![disk]);
        let lab = builder.context(silent(output.path())).boot().await?;
        let (a, b) = (lab.machine("a")?, lab.machine("b")?);
        b.shell("touch /before").await?;
        let snapshot = lab.snapshot().await?;
        // `b` gets as far as to wait for what it was.
        fs::remove_file(&source).unwrap();
        let error = lab
            .restore(&snapshot)
            .await
            .expect_err("its disk is not there");
        assert!(error.chain().contains("data.raw"), "{}", error.chain());
        for machine in [&a, &b] {
            let error = machine
                .shell("true")
                .timeout(LONG)
                .await
                .expect_err("it is off");
            assert!(matches!(error, Error::MachineOff { .. }), "{error:?}");
            assert_eq!(machine.vmm_pid().await, None);
        }
        // They can be started, and put back as soon as that is possible.
        b.start().await?;
        b.shell("test ! -e /before").await?;
        make();
        lab.restore(&snapshot).await?;
        b.shell("test -e /before").await?;
        let pid = b.vmm_pid().await.expect("it runs");
        assert_eq!(siblings(pid, "qemu"), [a.vmm_pid().await.expect("it runs")]);
        lab.shutdown().await;
        Ok::<_, Error>(())
    };
    test.run().unwrap();
}

#[test]
fn a_file_system_that_cannot_freeze_is_told_and_saved() {
    let output = tempfile::tempdir().unwrap();
    let (recorder, mut events) = Recorder::new(Instant::now());
    let context = LabContext {
        recorder,
        ..silent(output.path())
    };
    let test = async {
        let lab = with_scratch().context(context).boot().await?;
        let a = lab.machine("a")?;
        a.shell(
            "mke2fs /dev/vda && mkdir /mnt && mount -t ext4 /dev/vda /mnt && echo saved > /mnt/file && \
             fsfreeze --freeze /mnt",
        )
        .await?;
        let fork = lab.snapshot().await?.fork().await?;
        for lab in [&lab, &fork] {
            // It is as it was, frozen by whoever did that.
            let a = lab.machine("a")?;
            a.shell("fsfreeze --unfreeze /mnt && echo since >> /mnt/file")
                .await?;
            assert_eq!(text(&a, "cat /mnt/file").await?, "saved\nsince\n");
        }
        fork.shutdown().await;
        lab.shutdown().await;
        Ok::<_, Error>(())
    };
    test.run().unwrap();
    let mut warnings = Vec::new();
    let read = async {
        while let Some(event) = events.next().await {
            if let EventKind::Warning { message } = event.kind {
                warnings.push((event.machine, message));
            }
        }
    };
    read.run();
    // How the system says EBUSY is its library's.
    let [(machine, said)] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert_eq!(machine.as_deref(), Some("a"));
    let (begin, end) = (
        "/mnt cannot be frozen: ",
        " (os error 16); its disk is saved with the memory of this instant, and is whole together with it",
    );
    assert!(said.starts_with(begin) && said.ends_with(end), "{said}");
}

#[test]
fn a_container_cannot_be_saved_and_says_why() {
    if let Err(reason) = attest_vmm::nspawn::probe() {
        return eprintln!("SKIPPED: a container cannot be saved: {reason}");
    }
    let output = tempfile::tempdir().unwrap();
    let test = async {
        let builder = Lab::builder().machine("b").machine_with("a", |machine| {
            machine.backend = Some(Backend::Nspawn);
        });
        let lab = builder.context(silent(output.path())).boot().await?;
        let error = failed(lab.snapshot().await);
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "a: the backend `nspawn` has no snapshots: processes of the host's kernel cannot be saved; a fresh \
             container boots from the same image"
        );
        // Nothing is done to any machine.
        for machine in lab.machines() {
            machine.shell("true").await?;
        }
        lab.machine("b")?.snapshot().await?;
        lab.shutdown().await;
        Ok::<_, Error>(())
    };
    test.run().unwrap();
}
