//! Units: waited for, started, stopped, looked at; and what is said when they disappoint.

use std::time::Duration;

use attest::systemd::ActiveState;
use attest::{Error, Machine, Result, events::Verdict};

use crate::support::{Files, LONG, in_container};

/// All that these tests need, in one system.
const UNITS: Files = &[
    (
        "/etc/systemd/system/multi-user.target.d/test.conf",
        "[Unit]\nWants=late.service bad.service\n",
    ),
    (
        "/etc/systemd/system/late.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 0.3\n",
    ),
    (
        "/etc/systemd/system/bad.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo the disk is on fire >&2; exit 3'\n",
    ),
    (
        "/etc/systemd/system/idle.service",
        "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/touch /run/reloaded\n",
    ),
    (
        "/etc/systemd/system/stuck.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n",
    ),
    (
        "/etc/systemd/system/small.target",
        "[Unit]\nAllowIsolate=yes\nRequires=basic.target\nAfter=basic.target\n",
    ),
    (
        "/etc/systemd/user/mine.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    ),
];

fn systemd_error(error: &Error) -> &attest::systemd::SystemdFailure {
    match error {
        Error::Systemd(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_unit_is_waited_for_from_the_boot_on() {
    in_container("a_unit_is_waited_for_from_the_boot_on", UNITS, async |a| {
        a.wait_for_unit("late").timeout(LONG).await?;
        let late = a.unit("late");
        assert_eq!(late.state().await?, ActiveState::Active);
        assert_eq!(late.property("SubState").await?, "exited");
        // What is so already ends the wait at once.
        late.wait().await?;
        let startup = a.systemd().wait_for_startup().await?;
        let failed: Vec<&str> = startup.failed.iter().map(|unit| &*unit.unit).collect();
        assert_eq!(failed, ["bad.service"]);
        Ok(())
    });
}

#[test]
fn what_will_not_come_ends_a_wait_at_once_and_says_why() {
    let test = "what_will_not_come_ends_a_wait_at_once_and_says_why";
    in_container(test, UNITS, async |a| {
        failed(&a).await;
        inactive(&a).await;
        missing(&a).await;
        late(&a).await
    });
}

async fn failed(a: &Machine) {
    let error = a.wait_for_unit("bad").timeout(LONG).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Failed);
    let text = error.to_string();
    assert!(
        text.starts_with("a: bad.service failed, while active was waited for"),
        "{text}"
    );
    assert!(text.contains("ExecMainStatus=3"), "{text}");
    assert!(
        text.ends_with("; it wrote last: the disk is on fire"),
        "{text}"
    );
    let journal = systemd_error(&error).journal.as_ref().expect("a journal");
    let lines = journal.lines.join("\n");
    assert!(lines.contains("the disk is on fire"), "{lines}");
    assert_eq!(error.detail().journals.len(), 1);
}

async fn inactive(a: &Machine) {
    let error = a.wait_for_unit("idle").timeout(LONG).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("a: idle.service is inactive, and nothing is queued that could start it"),
        "{text}"
    );
}

async fn missing(a: &Machine) {
    let error = a.wait_for_unit("idel").timeout(LONG).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("a: there is no unit idel.service; near it: idle.service"),
        "{text}"
    );
    let error = a.unit("nonesuch").state().await.unwrap_err();
    assert_eq!(error.to_string(), "a: there is no unit nonesuch.service");
    let error = a.wait_for_unit("@").await.unwrap_err();
    assert!(
        error.to_string().contains("cannot be the name of a unit"),
        "{error}"
    );
}

async fn late(a: &Machine) -> Result<()> {
    let short = Duration::from_millis(300);
    a.shell("systemctl start --no-block stuck").await?;
    let error = a.wait_for_unit("stuck").timeout(short).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::TimedOut);
    let text = error.to_string();
    assert!(
        text.starts_with("a: unit stuck active did not come within 300ms"),
        "{text}"
    );
    assert!(
        text.contains("last seen: activating (SubState=start), job "),
        "{text}"
    );
    let patient = a.wait_for_unit("idle").patient().timeout(short).await;
    let text = patient.unwrap_err().to_string();
    assert!(
        text.contains("last seen: inactive (SubState=dead), no job"),
        "{text}"
    );
    let jobs = a.systemd().jobs().await?;
    assert!(
        jobs.iter()
            .any(|job| job.unit == "stuck.service" && job.kind == "start"),
        "{jobs:?}"
    );
    Ok(())
}

#[test]
fn units_are_started_and_stopped() {
    in_container("units_are_started_and_stopped", UNITS, async |a| {
        let idle = a.unit("idle");
        idle.start().await?;
        assert_eq!(idle.state().await?, ActiveState::Active);
        let first = idle.property("MainPID").await?;
        idle.restart().await?;
        assert_ne!(idle.property("MainPID").await?, first);
        idle.reload().await?;
        a.wait_for_file("/run/reloaded").await?;
        idle.stop().await?;
        idle.wait_for_stop().await?;
        assert_eq!(idle.state().await?, ActiveState::Inactive);
        let error = a.unit("bad").start().await.unwrap_err();
        assert_eq!(error.verdict(), Verdict::Failed);
        let text = error.to_string();
        assert!(
            text.starts_with("a: the start job of bad.service ended with `failed`"),
            "{text}"
        );
        assert!(systemd_error(&error).journal.is_some());
        a.unit("bad").reset_failed().await?;
        assert!(a.systemd().failed_units().await?.is_empty());
        a.shell("echo Description=new >> /etc/systemd/system/small.target")
            .await?;
        a.systemd().daemon_reload().await?;
        idle.start().await?;
        a.unit("small.target").isolate().await?;
        idle.wait_for_stop().await.map(drop)
    });
}

#[test]
fn a_users_units_are_units_too() {
    in_container("a_users_units_are_units_too", UNITS, async |a| {
        let mine = a.user_unit("alice", "mine");
        mine.start().await?;
        mine.wait().await?;
        assert_eq!(mine.property("ActiveState").await?, "active");
        assert!(!a.user_systemd("alice").units(&["mine*"]).await?.is_empty());
        let error = a.user_unit("nobody", "mine").state().await.unwrap_err();
        assert!(
            error.to_string().contains("loginctl enable-linger"),
            "{error}"
        );
        let error = a.user_unit("bob", "mine").state().await.unwrap_err();
        assert_eq!(error.to_string(), "a: there is no user `bob`");
        Ok(())
    });
}
