//! Waits: each ends when the thing happens, and says what it saw when it does not.

use std::time::Duration;

use attest::{Error, Lab, Machine, Result, Wait};

use crate::support::{LONG, failed, one, text};

/// Begin the wait, let the thing happen, and see the wait end.
async fn met(wait: Wait, machine: &Machine, event: &str) -> Result<()> {
    let waiting = tokio::spawn(std::future::IntoFuture::into_future(wait.timeout(LONG)));
    // The guest takes requests in their order: the wait has begun when this is answered.
    machine.stats().await?;
    assert!(!waiting.is_finished(), "before `{event}`");
    machine.shell(event).await?;
    waiting.await.expect("no panic").map(drop)
}

#[attest::test(lab = one())]
async fn each_wait_ends_with_its_event(lab: Lab) -> Result<()> {
    let a = &lab.machine("a")?;
    met(
        a.wait_for_file("/tmp/deep/file"),
        a,
        "mkdir /tmp/deep; touch /tmp/deep/file",
    )
    .await?;
    met(a.wait_for_no_file("/tmp/deep"), a, "rm -r /tmp/deep").await?;
    a.shell("echo begun > /tmp/log").await?;
    met(
        a.wait_for_text_in_file("/tmp/log", r"^rea\w+$"),
        a,
        "echo ready >> /tmp/log",
    )
    .await?;
    met(
        a.wait_for_port(80),
        a,
        "httpd -h / -f & echo $! > /tmp/httpd",
    )
    .await?;
    met(a.wait_for_closed_port(80), a, "kill $(cat /tmp/httpd)").await?;
    met(
        a.wait_for_process("^sleep 1[0]07"),
        a,
        "sleep 1007 & echo $! > /tmp/sleep",
    )
    .await?;
    met(
        a.wait_for_no_process("^sleep 1[0]07"),
        a,
        "kill $(cat /tmp/sleep)",
    )
    .await?;
    met(
        a.wait_until_succeeds("test -s /tmp/flag"),
        a,
        "echo x > /tmp/flag",
    )
    .await?;
    met(a.wait_until_fails("test -e /tmp/flag"), a, "rm /tmp/flag").await?;
    met(
        a.wait_for_console_text("said (loud|softly)"),
        a,
        "echo said softly > /dev/console",
    )
    .await?;
    // What has happened already ends them at once.
    a.wait_for_file("/tmp/log").await?;
    let found = a.wait_for_console_text("said (loud|softly)").await?;
    assert_eq!(found.matched.as_deref(), Some("said softly"));
    let command = a.wait_until_succeeds("cat /tmp/log").await?;
    assert_eq!(command.text(), "begun\nready\n");
    Ok(())
}

#[attest::test(lab = one())]
async fn a_wait_that_fails_says_what_it_saw(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let short = Duration::from_millis(300);
    a.shell("echo begun > /tmp/log; echo the last line > /dev/console")
        .await?;
    let cases = [
        (
            a.wait_for_port(81),
            "a: port localhost:81 did not open within 300ms",
            "refused",
        ),
        (
            a.wait_for_file("/tmp/none"),
            "a: /tmp/none did not appear within 300ms",
            "",
        ),
        (
            a.wait_for_no_file("/tmp/log"),
            "a: /tmp/log did not vanish within 300ms",
            "",
        ),
        (
            a.wait_for_text_in_file("/tmp/log", "ready"),
            "a: /tmp/log did not come to match /ready/ within 300ms",
            "begun",
        ),
        (
            a.wait_until_succeeds("echo still not; exit 3"),
            "a: `echo still not; exit 3` did not succeed within 300ms",
            "still not",
        ),
        (a.wait_for_process("nonesuch"), "a: no process", ""),
        (
            a.wait_for_console_text("never said"),
            "a: ",
            "the last line",
        ),
    ];
    for (wait, words, seen) in cases {
        let error = failed(wait.timeout(short).await);
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.starts_with(words), "{message}");
        assert!(message.contains(seen), "{message}");
    }
    let wrong = a.wait_for_text_in_file("/tmp/log", "(").await.unwrap_err();
    assert!(wrong.to_string().contains("regular expression"), "{wrong}");
    Ok(())
}

#[attest::test(lab = one())]
async fn a_wait_that_is_dropped_leaves_nothing(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    text(&a, "true").await?;
    let before = a.stats().await?;
    for _ in 0..20 {
        let waits = [
            a.wait_for_port(82),
            a.wait_for_file("/none"),
            a.wait_until_succeeds("sleep 1008"),
        ];
        for wait in waits {
            let waited = tokio::time::timeout(Duration::from_millis(1), wait).await;
            assert!(waited.is_err());
        }
    }
    a.wait_for_no_process("sleep 1008").timeout(LONG).await?;
    let after = a.stats().await?;
    assert_eq!(after.agent_tracked, before.agent_tracked);
    Ok(())
}
