//! The backend `nspawn`.

use std::collections::BTreeSet;
use std::path::Path;

use attest::events::MachineEnding;
use attest::manifest::{Disk, Size};
use attest::{Backend, Error, Lab, Run};

use crate::debian::{can, can_contain};
use crate::labs::{debian_on, run, systems};

#[test]
fn a_container_is_a_whole_system() {
    if !can_contain("a_container_is_a_whole_system") {
        return;
    }
    let lab = systems().machine_with("a", debian_on(Backend::Nspawn));
    run(lab, async |lab| {
        let a = lab.machine("a")?;
        let text = async |command: &str| Ok::<_, Error>(a.shell(command).await?.text());
        assert_eq!(text("cat /etc/attest-test").await?, "from the image\n");
        a.wait_for_unit("multi-user.target").await?;
        assert_eq!(text("hostname; cat /proc/1/comm").await?, "a\nsystemd\n");
        a.wait_for_console_text("Reached target").await?;
        let state = "systemctl is-system-running --wait; systemctl --failed --plain --no-legend";
        assert_eq!(text(state).await?, "running\n");
        // Only its loopback, where it is on no network.
        assert_eq!(text("ls /sys/class/net").await?, "lo\n");
        Ok(())
    });
}

#[test]
fn containers_are_on_the_labs_networks_and_labs_do_not_meet() {
    if !can_contain("containers_are_on_the_labs_networks_and_labs_do_not_meet") {
        return;
    }
    let lab = || {
        let on = debian_on(Backend::Nspawn);
        let lab = systems().network("lan").machine_with("a", on);
        lab.machine_with("b", debian_on(Backend::Nspawn))
    };
    run(lab(), async |first| {
        let second = lab().boot().await?;
        for lab in [first, &second] {
            lab.machine("a")?.shell("ping -c1 -W5 b").await?;
            let address = lab.machine("b")?.shell("getent hosts b").await?.text();
            let planned = lab.machine("b")?.plan().cards[0].addresses[0].0.to_string();
            let seen = lab.machine("a")?.shell("getent ahosts b").await?.text();
            assert!(seen.contains(&planned), "{planned}: {seen} {address}");
        }
        // What one lab writes no other sees.
        first.machine("a")?.shell("touch /only-here").await?;
        let elsewhere = second.machine("a")?.shell("test -e /only-here");
        assert!(!elsewhere.ignore_status().await?.success());
        second.shutdown().await;
        Ok(())
    });
}

#[test]
fn a_container_ends_and_begins_again() {
    if !can_contain("a_container_ends_and_begins_again") {
        return;
    }
    let lab = systems().machine_with("a", debian_on(Backend::Nspawn));
    run(lab, async |lab| {
        let a = lab.machine("a")?;
        a.wait_for_unit("multi-user.target").await?;
        a.shell("touch /run/before").await?;
        a.reboot().await?;
        let before = a.shell("test -e /run/before").ignore_status().await?;
        assert!(!before.success(), "it has booted anew");
        a.wait_for_unit("multi-user.target").await?;
        // Off by itself.
        a.shell("systemctl poweroff").await?;
        let ended = a.ended().await;
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
        assert_eq!(a.shell("echo again").await?.text(), "again\n");
        // And by force.
        a.kill().await;
        let off = a.shell("true").await.unwrap_err();
        assert!(matches!(off, Error::MachineOff { .. }), "{off:?}");
        Ok(())
    });
}

#[test]
fn trees_go_into_containers_and_come_back() {
    if !can_contain("trees_go_into_containers_and_come_back") {
        return;
    }
    let lab = systems().machine_with("a", debian_on(Backend::Nspawn));
    run(lab, async |lab| {
        let a = lab.machine("a")?;
        let directory = tempfile::tempdir().expect("a directory");
        let (there, back) = (
            directory.path().join("there"),
            directory.path().join("back"),
        );
        std::fs::create_dir(&there).expect("a directory");
        std::fs::write(there.join("file"), vec![7; 3 << 20]).expect("a file");
        a.upload(&there, "/srv/tree").await?;
        a.download("/srv/tree", &back).await?;
        assert_eq!(
            std::fs::read(back.join("file")).expect("a file"),
            vec![7; 3 << 20]
        );
        // Many at once.
        let all = (0..64).map(|number| a.exec(["echo".to_owned(), number.to_string()]));
        let said = futures_util::future::join_all(all.map(IntoFuture::into_future)).await;
        for (number, said) in said.into_iter().enumerate() {
            assert_eq!(said?.text(), format!("{number}\n"));
        }
        Ok(())
    });
}

#[test]
fn what_a_container_cannot_is_refused_before_it_starts() {
    if !can_contain("what_a_container_cannot_is_refused_before_it_starts") {
        return;
    }
    let refused = |set: fn(&mut attest::manifest::Machine)| {
        let lab = systems().machine_with("a", |machine| {
            debian_on(Backend::Nspawn)(machine);
            set(machine);
        });
        let error = lab.boot().run().map(drop).unwrap_err();
        let chain = error.chain();
        assert!(chain.contains("a: ") && chain.contains("nspawn"), "{chain}");
        chain
    };
    let kernel = refused(|machine| machine.kernel_arguments = vec!["quiet".to_owned()]);
    assert!(kernel.contains("kernel of its own"), "{kernel}");
    let disks = refused(|machine| {
        machine.disks = vec![Disk {
            size: Some(Size::from_mib(1)),
            ..Disk::default()
        }];
    });
    assert!(disks.contains("disks"), "{disks}");
    // And what only a test asks for, when it does.
    let lab = systems().machine_with("a", debian_on(Backend::Nspawn));
    run(lab, async |lab| {
        let a = lab.machine("a")?;
        let pause = a.pause().await.unwrap_err();
        assert!(matches!(pause, Error::Unsupported { .. }), "{pause:?}");
        let clock = a.sync_clock().await.unwrap_err();
        assert!(matches!(clock, Error::Unsupported { .. }), "{clock:?}");
        Ok(())
    });
}

#[test]
fn nothing_is_left_of_containers() {
    if !can_contain("nothing_is_left_of_containers") {
        return;
    }
    let pid = |lab: &Lab| lab.pid();
    let lab = systems().machine_with("a", debian_on(Backend::Nspawn));
    let work = async {
        let lab = lab.boot().await?;
        let inside = pid(&lab);
        // Where the host sees them: groups of processes that bear the lab's own number.
        let groups = groups_of(inside);
        assert!(!groups.is_empty(), "a container has a control group");
        drop(lab);
        Ok::<_, Error>(groups)
    };
    let groups = work
        .run()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let began = std::time::Instant::now();
    while groups.iter().any(|group| group.exists()) {
        assert!(began.elapsed() < crate::labs::LONG, "{groups:?} stay");
        std::thread::yield_now();
    }
}

/// The control groups of a lab, in each hierarchy: those of its programs are below them.
fn groups_of(pid: u32) -> Vec<std::path::PathBuf> {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let programs = read(format!("/proc/{pid}/task/{pid}/children"));
    let told = programs.split_whitespace();
    let told = told.map(|program| read(format!("/proc/{program}/cgroup")));
    let told: String = told.collect();
    let named = told.lines().filter_map(|line| {
        let (before, after) = line.split_once("/attest-")?;
        let (_, parent) = before.split_once(":/").unwrap_or((before, ""));
        let own = after.split('/').next().unwrap_or(after);
        Some(Path::new(parent).join(format!("attest-{own}")))
    });
    let named: BTreeSet<_> = named.collect();
    let hierarchies = ["", "unified", "systemd"].map(|name| Path::new("/sys/fs/cgroup").join(name));
    let places = hierarchies
        .iter()
        .flat_map(|hierarchy| named.iter().map(|name| hierarchy.join(name)));
    places.filter(|place| place.exists()).collect()
}

#[test]
fn the_built_in_guest_is_a_container_too() {
    let probed = attest_vmm::nspawn::probe();
    if !can("the_built_in_guest_is_a_container_too", &probed.map(drop)) {
        return;
    }
    let on = |machine: &mut attest::manifest::Machine| machine.backend = Some(Backend::Nspawn);
    let lab = Lab::builder().network("lan").machine_with("a", on);
    run(lab.machine_with("b", on), async |lab| {
        let a = lab.machine("a")?;
        assert_eq!(a.shell("cat /proc/1/comm").await?.text(), "init\n");
        a.shell("ping -c1 -W5 b").await?;
        a.shell("echo kept > /kept").await?;
        a.reboot().await?;
        assert_eq!(a.shell("cat /kept").await?.text(), "kept\n");
        a.power_off().await?;
        a.start().await?;
        let kept = a.shell("test -e /kept").ignore_status().await?;
        assert!(!kept.success(), "what was written is gone with the machine");
        Ok(())
    });
}
