//! Commands: what goes in, what comes out, and how they end.

use std::time::Duration;

use attest::{ChildEvent, Error, ExitStatus, Lab, Machine, Result, Stats, TerminalSize, wait_all};

use crate::support::{LONG, failed, one, text};

#[attest::test(lab = one())]
async fn a_command_gets_what_it_is_given(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    // Bytes that are no UTF-8 go in and come out as they are.
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(a.exec(["cat"]).stdin(all.clone()).await?.stdout, all);
    assert_eq!(a.shell("cat").stdin(all.clone()).await?.stdout, all);
    // Without stdin it reads nothing.
    assert_eq!(a.exec(["cat"]).await?.stdout, b"");
    let output = a.shell("echo out; echo err >&2").await?;
    assert_eq!(
        (output.text().as_str(), output.error_text().as_str()),
        ("out\n", "err\n")
    );
    let output = a
        .shell("echo \"$A $B\"; pwd; id -un")
        .env("A", "1")
        .env("B", "x y");
    assert_eq!(
        output.directory("/tmp").await?.text(),
        "1 x y\n/tmp\nroot\n"
    );
    let odd = a.exec(["printf", "%s|", "a b", "", "$HOME", "é\n"]).await?;
    assert_eq!(odd.text(), "a b||$HOME|é\n|");
    a.shell("echo 'eve:x:1007:1007::/tmp:/bin/sh' >> /etc/passwd; echo eve:x:1007: >> /etc/group")
        .await?;
    assert_eq!(
        a.shell("id -un; pwd; echo $HOME").user("eve").await?.text(),
        "eve\n/tmp\n/tmp\n"
    );
    let nobody = failed(a.shell("true").user("mallory").await);
    assert_eq!(
        nobody.to_string(),
        "a: exec failed: no user `mallory` in the guest's /etc/passwd"
    );
    Ok(())
}

#[attest::test(lab = one())]
async fn a_command_ends_in_one_way(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    assert_eq!(
        a.exec(["sh", "-c", "exit 3"]).ignore_status().await?.status,
        ExitStatus::Code(3)
    );
    assert_eq!(
        a.exec(["sh", "-c", "kill -9 $$"])
            .ignore_status()
            .await?
            .status,
        ExitStatus::Signal(9)
    );
    // A shell reports signals as codes.
    assert_eq!(
        a.shell("kill -9 $$").ignore_status().await?.status,
        ExitStatus::Code(137)
    );
    a.shell("exit 7").expect_code(7).await?;
    a.shell("false; true").expect_failure().await?;
    a.shell("false | true").expect_failure().await?;
    a.shell("echo $undefined").expect_failure().await?;
    let passed = failed(a.shell("true").expect_failure().await);
    assert_eq!(
        passed.to_string(),
        "a: `true` ended with exit code 0, not with a failure"
    );
    let missing = failed(a.exec(["no-such-program"]).await);
    assert_eq!(
        missing.to_string(),
        "a: exec failed: `no-such-program` cannot be started: No such file or directory (os error 2)"
    );
    assert_eq!(missing.verdict(), attest::events::Verdict::Failed);
    Ok(())
}

#[attest::test(lab = one())]
async fn a_time_out_ends_the_whole_process_group(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let stubborn = a.shell("trap '' TERM; echo begun; sleep 1001 & sleep 1002; sleep 1003");
    let error = failed(stubborn.timeout(Duration::from_millis(200)).await);
    let Error::Command(failure) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.timed_out, Some(Duration::from_millis(200)));
    assert_eq!(failure.stdout, "begun\n");
    assert!(
        error.to_string().contains("did not end within 200ms"),
        "{error}"
    );
    assert_eq!(error.verdict(), attest::events::Verdict::TimedOut);
    a.wait_for_no_process("sleep 100[123]")
        .timeout(LONG)
        .await?;
    // What is dropped ends as well.
    let dropped = a.exec(["sleep", "1004"]).spawn().await?;
    a.wait_for_process("sleep 1004").timeout(LONG).await?;
    drop(dropped);
    a.wait_for_no_process("sleep 1004").timeout(LONG).await?;
    Ok(())
}

#[attest::test(lab = one())]
async fn a_child_in_the_background_keeps_nobody_waiting(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let output = a.shell("sleep 1005 & echo $!").await?;
    let pid = output.text().trim().to_owned();
    assert_eq!(output.holders, [format!("{pid} sleep")]);
    // It lives on, and what it would print is dropped.
    assert_eq!(
        text(&a, &format!("kill -0 {pid} && echo lives")).await?,
        "lives\n"
    );
    a.shell(format!("kill {pid}")).await?;
    Ok(())
}

#[attest::test(lab = one())]
async fn a_child_is_talked_with(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let mut child = a.exec(["cat"]).spawn().await?;
    let input = child.input();
    assert!(matches!(child.next().await?, ChildEvent::Started(pid) if pid > 1));
    for word in ["one", "two"] {
        assert!(input.write(word.as_bytes()).await);
        let ChildEvent::Stdout(bytes) = child.next().await? else {
            panic!("no echo")
        };
        assert_eq!(bytes, word);
    }
    input.close();
    assert!(matches!(
        child.next().await?,
        ChildEvent::Exited(ExitStatus::Code(0))
    ));
    // Signals reach the whole group.
    let child = a.exec(["sh", "-c", "sleep 1006; exit 1"]).spawn().await?;
    a.wait_for_process("^sleep 1006").timeout(LONG).await?;
    child.input().signal(15);
    assert_eq!(child.wait().await?, ExitStatus::Signal(15));
    a.wait_for_no_process("sleep 1006").timeout(LONG).await?;
    Ok(())
}

#[attest::test(lab = one())]
async fn a_terminal_has_a_size_that_changes(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let size = |columns, rows| TerminalSize { columns, rows };
    let script =
        "trap 'stty size; echo seen' WINCH; stty size; tty; while :; do read -r line; done";
    let mut child = a
        .exec(["bash", "-c", script])
        .terminal(size(100, 30))
        .spawn()
        .await?;
    let input = child.input();
    let mut seen = String::new();
    let mut resized = false;
    // Said by bash itself: it does not end by a Ctrl-C that comes while `stty` does.
    while !seen.contains("seen\r\n") {
        if let ChildEvent::Stdout(bytes) = child.next().await? {
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        if !resized && seen.contains("/dev/pts/") {
            assert!(seen.starts_with("30 100\r\n"), "{seen:?}");
            input.resize(size(101, 41));
            // bash runs a trap when its `read` has returned.
            input.write("\n").await;
            resized = true;
        }
    }
    assert!(seen.contains("41 101\r\n"), "{seen:?}");
    // Ctrl-C goes through the terminal.
    input.write("\x03").await;
    assert_eq!(child.wait().await?, ExitStatus::Signal(2));
    Ok(())
}

/// Once both of the shells wait that were started for the next commands: they have pipes.
async fn with_shells(machine: &Machine) -> Result<Stats> {
    loop {
        let stats = machine.stats().await?;
        if stats.agent_shells == 2 {
            return Ok(stats);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[attest::test(lab = one())]
async fn many_commands_run_at_once_and_leave_nothing(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.shell("true; true").await?;
    let before = with_shells(&a).await?;
    // They wait for each other: only when all of them run does any of them end.
    let script = |n: u32| {
        format!(
            "mkdir -p /tmp/all; touch /tmp/all/{n}; while [ $(ls /tmp/all | wc -l) -lt 24 ]; do sleep 0.1; done; echo {n}"
        )
    };
    let outputs = wait_all((0..24).map(|n| a.shell(script(n)).timeout(LONG))).await;
    for (n, output) in outputs.into_iter().enumerate() {
        assert_eq!(output?.text(), format!("{n}\n"));
    }
    for _ in 0..200 {
        a.exec(["true"]).await?;
    }
    let after = with_shells(&a).await?;
    assert_eq!(after.agent_fds, before.agent_fds);
    assert_eq!(after.agent_tracked, before.agent_tracked);
    Ok(())
}

#[attest::test(lab = one())]
async fn much_output_is_streamed_or_refused(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let gigabyte = "dd if=/dev/zero bs=65536 count=16384";
    let error = failed(a.shell(gigabyte).timeout(LONG).await);
    assert_eq!(
        error.to_string(),
        "a: `dd if=/dev/zero bs=65536 count=16384` printed more than 67108864 bytes; raise the limit, or stream it or redirect it to a file in the guest"
    );
    a.wait_for_no_process("^dd").timeout(LONG).await?;
    // As a stream nothing is kept, and nothing is lost.
    let mut child = a.shell(gigabyte).timeout(LONG).spawn().await?;
    let mut count = 0_u64;
    let status = loop {
        match child.next().await? {
            ChildEvent::Stdout(bytes) => count += bytes.len() as u64,
            ChildEvent::Exited(status) => break status,
            _ => {}
        }
    };
    assert_eq!((status, count), (ExitStatus::Code(0), 1 << 30));
    // One who does not read stops nobody else.
    let _unread = a.exec(["yes"]).spawn().await?;
    assert_eq!(text(&a, "echo alive").await?, "alive\n");
    Ok(())
}
