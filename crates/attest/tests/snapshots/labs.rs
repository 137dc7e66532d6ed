//! What a snapshot holds, and what goes on from it.

use attest::{Lab, Result};

use crate::support::{LONG, one, text};
use crate::two;

#[attest::test(lab = one())]
async fn forks_begin_as_the_lab_was_and_have_nothing_in_common(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.shell("echo before > /tmp/file; sleep 1000 & echo $! > /tmp/pid")
        .await?;
    let boot = text(&a, "cat /proc/sys/kernel/random/boot_id").await?;
    let snapshot = lab.snapshot().await?;
    let (one, two) = tokio::join!(snapshot.fork(), snapshot.fork());
    let (one, two) = (one?, two?);
    a.shell("echo lab > /tmp/file").await?;
    one.machine("a")?.shell("echo one > /tmp/file").await?;
    for (lab, file) in [(&lab, "lab\n"), (&one, "one\n"), (&two, "before\n")] {
        let a = lab.machine("a")?;
        assert_eq!(text(&a, "cat /tmp/file").await?, file);
        assert_eq!(text(&a, "cat /proc/sys/kernel/random/boot_id").await?, boot);
        // What runs in the background goes on.
        a.shell("kill -0 $(cat /tmp/pid)").await?;
    }
    // Saved again, with what was written since.
    let later = one.snapshot().await?;
    one.shutdown().await;
    let last = later.fork().await?;
    assert_eq!(text(&last.machine("a")?, "cat /tmp/file").await?, "one\n");
    two.shutdown().await;
    last.shutdown().await;
    // And put back, any number of times.
    for _ in 0..3 {
        a.shell("echo again >> /tmp/file").await?;
        lab.restore(&snapshot).await?;
        assert_eq!(text(&a, "cat /tmp/file").await?, "before\n");
    }
    Ok(())
}

#[attest::test(lab = two())]
async fn connections_between_machines_survive(lab: Lab) -> Result<()> {
    let (a, b) = (lab.machine("a")?, lab.machine("b")?);
    a.shell("nc -ll -p 9 -e sh -c 'cat >> /tmp/heard' &")
        .await?;
    a.wait_for_port(9).timeout(LONG).await?;
    b.shell("mkfifo /tmp/say; nc a 9 < /tmp/say & exec 3> /tmp/say; sleep 1000 >&3 & echo one >&3")
        .await?;
    a.wait_for_text_in_file("/tmp/heard", "one")
        .timeout(LONG)
        .await?;
    let snapshot = lab.snapshot().await?;
    let fork = snapshot.fork().await?;
    for (lab, word) in [(&lab, "two"), (&fork, "three")] {
        let (a, b) = (lab.machine("a")?, lab.machine("b")?);
        b.shell(format!("echo {word} > /tmp/say")).await?;
        a.wait_for_text_in_file("/tmp/heard", format!("one\n{word}"))
            .timeout(LONG)
            .await?;
        b.shell("ping -c1 a").await?;
    }
    fork.shutdown().await;
    Ok(())
}

#[attest::test(lab = one())]
async fn forks_are_other_machines_when_they_are_asked_to_be(lab: Lab) -> Result<()> {
    let snapshot = lab.snapshot().await?;
    let fork = snapshot.fork().await?;
    let (a, b) = (lab.machine("a")?, fork.machine("a")?);
    let read = "cat /run/attest/identity";
    assert!(!a.shell(read).ignore_status().await?.success());
    let (one, other) = (a.renew_identity().await?, b.renew_identity().await?);
    assert_ne!(one, other);
    for (machine, token) in [(&a, &one), (&b, &other)] {
        assert!(token.len() == 32 && token.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(text(machine, read).await?.trim_end(), token);
    }
    assert_ne!(a.renew_identity().await?, one);
    fork.shutdown().await;
    Ok(())
}
