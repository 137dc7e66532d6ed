//! A real guest: a start script in the shape of NixOS's, and its backdoor on hvc0.

mod support;

use std::time::{Duration, Instant};

use attest_backdoor::Happened;
use attest_protocol::message::{Condition, Request, Response};

use support::{Guest, agent, call, file, run, shell, wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_serves_over_all_boots() {
    let Some(mut guest) = Guest::start(None) else {
        return;
    };
    let (link, hello) = guest.accept().await;
    assert!(hello.version.contains("root shell"), "{hello:?}");
    assert_eq!(
        run(&link, "uname -s; pwd; echo $PAGER$HOME").await,
        (0, "Linux\n/tmp\n/root\n".to_owned())
    );
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(run(&link, "true").await.0, 0);
    }
    eprintln!("true through the shell: {:?}", began.elapsed() / 10);
    let (code, output) = run(&link, "head -c 3000000 /dev/urandom | tee /tmp/a | wc -c; cat /tmp/a | md5sum >/tmp/b; cat /tmp/a | wc -c").await;
    assert_eq!((code, output.as_str()), (0, "3000000\n3000000\n"));
    call(&link, &wait(Condition::FileExists(file("/tmp/b"))))
        .await
        .unwrap();
    call(&link, &wait(Condition::ProcessExists("bash".to_owned())))
        .await
        .unwrap();
    call(
        &link,
        &wait(Condition::PortClosed("localhost".to_owned(), 80)),
    )
    .await
    .unwrap();
    run(&link, "mkdir -p /tmp/www; httpd -h /tmp/www -p 80").await;
    call(
        &link,
        &wait(Condition::PortOpen("localhost".to_owned(), 80)),
    )
    .await
    .unwrap();
    assert_eq!(call(&link, &Request::Sync).await, Ok(Response::Done));
    let Ok(Response::Stats(stats)) = call(&link, &Request::Stats).await else {
        panic!("no stats");
    };
    assert!(stats.uptime_ns > 0 && stats.memory_total > 0);
    // More than there is room for, taken late: QEMU would drop what the console has no room for.
    let mut channel = link.open(&Request::Exec(shell("seq 1 1000000"))).unwrap();
    let first = channel.receiver.next().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(first);
    let (result, output) = support::finish(channel).await;
    result.unwrap();
    let numbers: Vec<String> = (1..=1_000_000)
        .map(|number: u32| number.to_string())
        .collect();
    let all = numbers.join("\n") + "\n";
    assert!(
        all.as_bytes() == output,
        "{} of {} bytes",
        output.len(),
        all.len()
    );
    guest.copies(&link).await;
    call(&link, &Request::Reboot).await.unwrap();
    let (link, again) = guest.accept().await;
    assert_ne!(hello.boot_id, again.boot_id);
    assert_eq!(run(&link, "echo again").await, (0, "again\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_pushed_in_and_again_after_a_reboot() {
    let Some(mut guest) = Guest::start(Some(agent())) else {
        return;
    };
    let (link, hello) = guest.accept().await;
    let happened = guest.happened();
    let Some(Happened::Pushed { took }) = happened.last() else {
        panic!("{happened:?}");
    };
    eprintln!("pushed in {took:?}");
    assert!(!hello.version.contains("root shell"), "{hello:?}");
    assert_eq!(
        run(&link, "pwd; echo $PAGER$HOME$DISPLAY; echo lost >&2").await,
        (0, "/tmp\n/root:0.0\n".to_owned())
    );
    assert_eq!(
        run(&link, "ls /run /tmp /dev/shm | grep -c attest-agent")
            .await
            .0,
        1,
        "its file is gone"
    );
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(run(&link, "true").await.0, 0);
    }
    eprintln!("true through the agent: {:?}", began.elapsed() / 10);
    guest.copies(&link).await;
    // The shell alone may be started anew: the agent goes on.
    let found = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q '^bash --norc /dev/hvc0' && kill -9 ${p##*/}; done; true";
    assert_eq!(run(&link, found).await.0, 0);
    guest
        .until(|happened| happened.last() == Some(&Happened::Kept))
        .await;
    assert_eq!(run(&link, "echo on").await, (0, "on\n".to_owned()));
    // One whose end the shell sees: pushed anew.
    let rebooting = link.open(&Request::Exec(shell("reboot -f"))).unwrap();
    let (link, _) = guest.accept().await;
    drop(rebooting);
    let killing = link.open(&Request::Exec(shell("kill -9 $PPID"))).unwrap();
    let (link, _) = guest.accept().await;
    drop(killing);
    assert_eq!(run(&link, "echo anew").await, (0, "anew\n".to_owned()));
    // It ends with its boot, and comes with the next.
    let rebooting = link.open(&Request::Exec(shell("reboot -f"))).unwrap();
    let (link, again) = guest.accept().await;
    drop(rebooting);
    assert_ne!(hello.boot_id, again.boot_id);
    assert_eq!(run(&link, "echo again").await, (0, "again\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_at_once_is_given_up() {
    let broken = b"#!/bin/sh\n[ \"$1\" = --check ]\n";
    let Some(mut guest) = Guest::start(Some(broken.as_slice().into())) else {
        return;
    };
    let (link, hello) = guest.accept().await;
    assert!(hello.version.contains("root shell"), "{hello:?}");
    let happened = guest.happened();
    let Some(Happened::NotPushed { reason }) = happened.last() else {
        panic!("{happened:?}");
    };
    assert_eq!(reason, "it ended 3 times in this boot of the guest");
    assert_eq!(run(&link, "echo well").await, (0, "well\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_run_is_given_up() {
    // Another machine's, as far as the kernel can tell.
    let foreign = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 100]].concat();
    let Some(mut guest) = Guest::start(Some(foreign.into())) else {
        return;
    };
    let (link, hello) = guest.accept().await;
    assert!(hello.version.contains("root shell"), "{hello:?}");
    let happened = guest.happened();
    let Some(Happened::NotPushed { reason }) = happened.last() else {
        panic!("{happened:?}");
    };
    assert!(
        reason.contains("it did not arrive whole") || reason.contains("Exec format error"),
        "{reason}"
    );
    assert_eq!(
        run(&link, "ls /run /tmp /dev/shm | grep -c attest-agent")
            .await
            .0,
        1,
        "its file is gone"
    );
}
