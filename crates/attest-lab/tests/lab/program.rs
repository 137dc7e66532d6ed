//! Networks and programs of a lab.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::common::{OpenEnd as _, end_of, lab, network, run, shell, start};
use attest_lab::{LabContent, LabError, LabProcess, ProcessExit};

#[tokio::test]
async fn starts_and_ends_and_leaves_nothing() {
    let before = crate::common::interfaces();
    let Some(lab) = lab(&[network("lan"), network("a-network-with-a-long-name")]).await else {
        return;
    };
    let (outer, inner) = (end_of(lab.supervisor_pid()), end_of(lab.pid()));
    let queue = lab.tap("lan").await.unwrap();
    assert_eq!(
        crate::common::interfaces(),
        before,
        "the host sees nothing of it"
    );
    lab.end().await;
    assert!(crate::common::has_ended(&inner) && crate::common::has_ended(&outer));
    assert_eq!(crate::common::interfaces(), before);
    drop(queue);
}

#[tokio::test]
async fn a_program_gets_its_descriptors_in_order() {
    let Some(lab) = lab(&[]).await else { return };
    let (mut one, one_in) = UnixStream::pair().unwrap();
    let (mut two, two_in) = UnixStream::pair().unwrap();
    let mut spawn = shell("cat <&3 >&4");
    assert_eq!(spawn.pass(one_in.into()), 3);
    assert_eq!(spawn.pass(two_in.into()), 4);
    let process = lab.spawn(spawn).await.unwrap();
    one.write_all(b"through").unwrap();
    drop(one);
    let mut through = String::new();
    two.read_to_string(&mut through).unwrap();
    assert_eq!(through, "through");
    assert_eq!(process.exited().await, ProcessExit::Code(0));
}

#[tokio::test]
async fn a_program_has_no_other_descriptors() {
    let Some(lab) = lab(&[]).await else { return };
    let mut spawn = shell("exec ls /proc/self/fd");
    let extra: Vec<OwnedFd> = (0..40)
        .map(|_| UnixStream::pair().unwrap().0.into())
        .collect();
    for fd in extra {
        spawn.pass(fd);
    }
    // `ls` itself opens the directory.
    let x = run(&lab, spawn).await;
    eprintln!("{x}");
    let numbers = x.split_whitespace().count();
    assert_eq!(numbers, 3 + 40 + 1);
}

#[tokio::test]
async fn exit_codes_and_signals() {
    let Some(lab) = lab(&[]).await else { return };
    for (script, exit) in [
        ("exit 0", ProcessExit::Code(0)),
        ("exit 77", ProcessExit::Code(77)),
        ("kill -9 $$", ProcessExit::Signal(9)),
        ("kill -40 $$", ProcessExit::Signal(40)),
    ] {
        let process = lab.spawn(shell(script)).await.unwrap();
        assert_eq!(process.exited().await, exit, "{script}");
        assert_eq!(process.exited().await, exit, "and again: {script}");
        assert!(process.pid() > 0);
        process.signal(9);
    }
}

#[tokio::test]
async fn many_wait_for_one_exit() {
    let Some(lab) = lab(&[]).await else { return };
    let process = lab
        .spawn(shell("read line <&3 || kill -TERM $$").with_open_end())
        .await
        .unwrap();
    let (one, two, ()) = tokio::join!(process.exited(), process.exited(), async {
        process.signal(15);
    });
    assert_eq!(
        (one, two),
        (ProcessExit::Signal(15), ProcessExit::Signal(15))
    );
}

#[tokio::test]
async fn process_numbers_are_the_hosts() {
    let Some(lab) = lab(&[]).await else { return };
    let process = lab.spawn(shell("exec sleep 1000")).await.unwrap();
    for (pid, inside) in [(lab.pid(), "1"), (process.pid(), "2")] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let numbers = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .unwrap();
        assert_eq!(numbers.split_whitespace().last(), Some(inside), "{status}");
    }
    assert_ne!(lab.supervisor_pid(), lab.pid());
}

#[tokio::test]
async fn programs_see_the_lab_and_not_the_host() {
    let Some(lab) = lab(&[network("lan")]).await else {
        return;
    };
    let seen = run(
        &lab,
        shell("hostname; echo $$; pwd; echo \"$HOME\"; cat /proc/net/dev"),
    )
    .await;
    let mut lines = seen.lines();
    assert_eq!(lines.next(), Some("lab"));
    assert_eq!(lines.next(), Some("2"));
    assert_eq!(lines.next(), Some("/"));
    assert_eq!(
        lines.next(),
        Some(""),
        "the environment is only what was given"
    );
    let mut interfaces: Vec<_> = lines
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    interfaces.sort_unstable();
    assert_eq!(interfaces, ["br-lan", "lo"]);
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let Some(lab) = lab(&[]).await else { return };
    let nowhere = lab
        .spawn(start("no-such-program-anywhere"))
        .await
        .unwrap_err();
    assert!(matches!(nowhere, LabError::NotFound(_)), "{nowhere}");
    let refused = lab.spawn(start("/etc/passwd")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot run `/etc/passwd`: the kernel refused to execute it"
    );
    let mut spawn = shell("true");
    spawn.directory = Some("/no/such/directory".into());
    let lost = lab.spawn(spawn).await.unwrap_err();
    assert_eq!(
        lost.to_string(),
        "cannot run `/bin/sh`: its directory `/no/such/directory` cannot be entered"
    );
    let mut spawn = shell("true");
    spawn.args.push("x".repeat(8 << 20).into());
    let large = lab.spawn(spawn).await.unwrap_err();
    assert!(matches!(large, LabError::TooLarge { .. }), "{large}");
    // And goes on.
    assert_eq!(run(&lab, shell("echo on")).await, "on\n");
}

#[tokio::test]
async fn an_environment_may_be_large() {
    let Some(lab) = lab(&[]).await else { return };
    let mut spawn = shell("echo ${#V7}; exec 3<&-; env | wc -c");
    for number in 0..8 {
        spawn
            .environment
            .push((format!("V{number}").into(), "x".repeat(100_000).into()));
    }
    let said = run(&lab, spawn.with_open_end()).await;
    let (first, all) = said.split_once('\n').unwrap();
    assert_eq!(first, "100000");
    assert!(all.trim().parse::<u32>().unwrap() > 800_000, "{all}");
}

#[tokio::test]
async fn orphans_are_reaped() {
    let Some(lab) = lab(&[]).await else { return };
    // The grandchild outlives its parent, so that PID 1 inherits it, and tells its number.
    let left = run(&lab, shell("(sh -c 'echo $$; exit 3' &) ; exit 0")).await;
    let orphan = left.trim().to_owned();
    // A zombie would still have an entry. SIGCHLD may take its way: ask until it is gone, in a
    // program whose own end is waited for.
    let script = format!("while [ -d /proc/{orphan} ]; do :; done");
    let process = lab.spawn(shell(&script)).await.unwrap();
    assert_eq!(process.exited().await, ProcessExit::Code(0));
}

#[tokio::test]
async fn equal_names_in_two_labs_do_not_meet() {
    let networks = [network("lan")];
    let (Some(one), Some(two)) = (lab(&networks).await, lab(&networks).await) else {
        return;
    };
    let (_one, _two) = (one.tap("lan").await.unwrap(), two.tap("lan").await.unwrap());
    one.end().await;
    assert_eq!(
        run(
            &two,
            shell("cat /sys/class/net/../../../proc/net/dev | grep -c t0-lan")
        )
        .await,
        "1\n"
    );
}

#[tokio::test]
async fn frames_cross_the_bridge() {
    let Some(lab) = lab(&[network("lan")]).await else {
        return;
    };
    let (one, two) = (lab.tap("lan").await.unwrap(), lab.tap("lan").await.unwrap());
    let (one, two) = (std::fs::File::from(one), std::fs::File::from(two));
    // 10 bytes of virtio-net header, then a broadcast frame of an experimental type (88b5).
    let mut frame = vec![0; 10];
    frame.extend([0xff; 6]);
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend([42; 50]);
    (&one).write_all(&frame).unwrap();
    let got = crate::common::read_frame(&two).await;
    assert_eq!(got, frame);
}

#[tokio::test]
async fn a_tap_of_no_network_is_refused() {
    let Some(lab) = lab(&[network("lan")]).await else {
        return;
    };
    let refused = lab.tap("wan").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "network `wan`: the lab has no such network"
    );
}

#[tokio::test]
async fn a_network_twice_is_refused() {
    let Some(probe) = lab(&[]).await else { return };
    probe.end().await;
    let networks = [network("lan"), network("lan")];
    let refused =
        attest_lab::LabProcess::start(crate::common::program(), &networks, LabContent::Programs)
            .await
            .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "network `lan`: cannot make the bridge `br-lan`: one of that name is there already"
    );
}

/// A broadcast frame of an experimental type (88b5), as it is on a wire.
fn broadcast() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend([42; 50]);
    frame
}

#[tokio::test]
async fn frames_are_relayed_without_taps() {
    let long = "a-network-with-a-long-name";
    let Some(lab) = lab(&[network(long)]).await else {
        return;
    };
    let (one, two) = (
        lab.relay(long).await.unwrap(),
        lab.relay(long).await.unwrap(),
    );
    rustix::io::write(&one, &broadcast()).unwrap();
    let got = crate::common::read_frame(&std::fs::File::from(two)).await;
    assert_eq!(got, broadcast());
    // It goes on while the lab does other things.
    assert_eq!(run(&lab, shell("echo on")).await, "on\n");
    let refused = lab.relay("wan").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "network `wan`: the lab has no such network"
    );
}

#[tokio::test]
async fn a_relayed_port_goes_with_its_socket() {
    let Some(lab) = lab(&[network("lan")]).await else {
        return;
    };
    let socket = lab.relay("lan").await.unwrap();
    let count = async || run(&lab, shell("grep -c -e 0-lan /proc/self/net/dev; true")).await;
    assert_eq!(count().await, "2\n");
    // A program that has it keeps it; when that ends, the port goes.
    let (mut told, tells) = UnixStream::pair().unwrap();
    let mut spawn = shell("echo ready >&4; read line <&4");
    assert_eq!(spawn.pass(socket), 3);
    assert_eq!(spawn.pass(tells.into()), 4);
    let process = lab.spawn(spawn).await.unwrap();
    told.read_exact(&mut [0; 6]).unwrap();
    assert_eq!(count().await, "2\n");
    drop(told);
    process.exited().await;
    let script = "while grep -q -e 0-lan /proc/self/net/dev; do :; done";
    let process = lab.spawn(shell(script)).await.unwrap();
    assert_eq!(process.exited().await, ProcessExit::Code(0));
}

#[tokio::test]
async fn cards_of_containers_have_names_whatever_the_networks_name() {
    let long = "a-network-with-a-long-name";
    let Some(lab) = lab(&[network(long)]).await else {
        return;
    };
    lab.namespace("web").await.unwrap();
    lab.veth(long, [2, 0, 0, 0, 0, 1], "web").await.unwrap();
    lab.veth(long, [2, 0, 0, 0, 0, 2], "web").await.unwrap();
}

#[tokio::test]
async fn a_program_may_have_a_control_group_of_its_own() {
    let started = LabProcess::start(crate::common::program(), &[], LabContent::Containers).await;
    let lab = match started {
        Ok(lab) => lab,
        Err(LabError::Setup {
            what,
            source: Some(source),
        }) => {
            eprintln!("skipped: this host has no labs with containers: {what}: {source}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let asked = |own_group, listens| {
        let mut spawn = shell("cat /proc/self/cgroup; echo ${LISTEN_FDS-none}");
        spawn.own_group = own_group;
        spawn.listens = listens;
        spawn
    };
    let common = run(&lab, asked(false, false)).await;
    let one = run(&lab, asked(true, false)).await;
    let other = run(&lab, asked(true, true)).await;
    let group = |told: &str| {
        let lines = told.lines();
        let mut paths = lines.filter_map(|line| line.strip_prefix("0::"));
        paths.next().map(str::to_owned)
    };
    let Some(common) = group(&common) else {
        return eprintln!("skipped: this host has no control groups of version 2");
    };
    let groups = [&one, &other].map(|told| group(told).unwrap());
    assert_ne!(groups[0], groups[1]);
    for own in groups {
        let of_lab = format!("{}/attest-", common.trim_end_matches('/'));
        assert!(own.starts_with(&of_lab), "{own} in {common}");
    }
    assert!(one.ends_with("none\n") && other.ends_with("0\n"), "{other}");
    lab.end().await;
}
