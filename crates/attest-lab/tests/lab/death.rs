//! However a process of ours dies, everything of the lab dies with it.

use std::os::fd::OwnedFd;

use crate::common::{end_of, ended, has_ended, lab, network, shell};
use attest_lab::{LabError, LabProcess, Process, ProcessExit};
use rustix::process::{Signal, pidfd_send_signal};

/// A lab with a program that ignores what can be ignored, and the ends of all three processes.
struct Scene {
    lab: LabProcess,
    process: Process,
    ends: [OwnedFd; 3],
}

async fn scene() -> Option<Scene> {
    let lab = lab(&[network("lan")]).await?;
    let process = lab
        .spawn(shell(
            "trap '' INT TERM HUP QUIT; while :; do sleep 1000; done",
        ))
        .await
        .unwrap();
    let ends = [
        end_of(lab.supervisor_pid()),
        end_of(lab.pid()),
        end_of(process.pid()),
    ];
    Some(Scene { lab, process, ends })
}

async fn all_ended(ends: [OwnedFd; 3]) {
    for end in ends {
        ended(end).await;
    }
}

#[tokio::test]
async fn the_outer_process_is_killed() {
    let Some(Scene { lab, process, ends }) = scene().await else {
        return;
    };
    pidfd_send_signal(&ends[0], Signal::KILL).unwrap();
    let error = lab.ended().await;
    assert_eq!(
        error.to_string(),
        "the lab process ended: signal: 9 (SIGKILL)"
    );
    assert_eq!(process.exited().await, ProcessExit::LabEnded);
    all_ended(ends).await;
}

#[tokio::test]
async fn pid_1_is_killed() {
    let Some(Scene { lab, process, ends }) = scene().await else {
        return;
    };
    pidfd_send_signal(&ends[1], Signal::KILL).unwrap();
    let error = lab.ended().await;
    assert_eq!(
        error.to_string(),
        "the lab process ended: its PID 1 was killed by signal 9"
    );
    assert_eq!(process.exited().await, ProcessExit::LabEnded);
    all_ended(ends).await;
    // What is asked of it now fails, with the same words.
    let late = lab.tap("lan").await.unwrap_err();
    assert!(matches!(late, LabError::Ended(_)), "{late}");
    let late = lab.spawn(shell("true")).await.unwrap_err();
    assert!(matches!(late, LabError::Ended(_)), "{late}");
}

#[tokio::test]
async fn the_driver_drops_it() {
    let Some(Scene { lab, process, ends }) = scene().await else {
        return;
    };
    drop(lab);
    assert_eq!(process.exited().await, ProcessExit::LabEnded);
    all_ended(ends).await;
}

#[test]
fn the_runtime_goes_first() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(Scene { lab, process, ends }) = runtime.block_on(scene()) else {
        return;
    };
    let outer = lab.supervisor_pid();
    drop(runtime);
    drop(lab);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(process.exited()), ProcessExit::LabEnded);
    runtime.block_on(all_ended(ends));
    // Reaped as well: the thread that does it needs no runtime. It may be about to.
    while std::path::Path::new(&format!("/proc/{outer}")).exists() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn ending_returns_when_all_have_ended() {
    let Some(Scene { lab, process, ends }) = scene().await else {
        return;
    };
    lab.end().await;
    assert!(ends.iter().all(has_ended));
    assert_eq!(process.exited().await, ProcessExit::LabEnded);
}

#[tokio::test]
async fn ctrl_c_reaches_only_the_driver() {
    let Some(Scene { lab, process, .. }) = scene().await else {
        return;
    };
    let own = nix::unistd::getpgrp();
    for pid in [lab.supervisor_pid(), lab.pid(), process.pid()] {
        let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
        assert_ne!(nix::unistd::getpgid(Some(pid)).unwrap(), own);
    }
}

/// The driver is another process here: this test's binary, run again.
#[tokio::test]
async fn the_driver_is_killed() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    if std::env::var_os("ATTEST_LAB_TEST_DRIVER").is_some() {
        let Some(Scene { lab, process, .. }) = scene().await else {
            println!("none");
            return;
        };
        println!(
            "pids {} {} {}",
            lab.supervisor_pid(),
            lab.pid(),
            process.pid()
        );
        std::future::pending::<()>().await;
    }
    let mut driver = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "death::the_driver_is_killed", "--nocapture"])
        .env("ATTEST_LAB_TEST_DRIVER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(driver.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    // The test harness may have begun the line.
    let said = lines
        .into_iter()
        .find(|line| line.contains("pids ") || line.contains("none"));
    let said = said.expect("the driver says what it started");
    let pids = said.split_once("pids ").map_or("", |(_, pids)| pids);
    let ends: Vec<OwnedFd> = pids
        .split_whitespace()
        .map(|pid| end_of(pid.parse().unwrap()))
        .collect();
    driver.kill().unwrap();
    driver.wait().unwrap();
    for end in ends {
        ended(end).await;
    }
}
