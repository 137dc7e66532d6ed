//! The connection with systemd: where there is none, and where it ends in the middle.

use attest::systemd::ActiveState;
use attest::{Error, Lab, Result, events::Verdict};

use crate::support::{Files, LONG, in_container, in_virtual_machine};

const UNITS: Files = &[
    (
        "/etc/systemd/system/multi-user.target.d/test.conf",
        "[Unit]\nWants=counts.service\n",
    ),
    (
        "/etc/systemd/system/counts.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    ),
    (
        "/etc/systemd/system/later.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'read x < /run/go'\n",
    ),
];

#[test]
fn waits_live_through_a_systemd_that_executes_itself_anew() {
    let test = "waits_live_through_a_systemd_that_executes_itself_anew";
    in_container(test, UNITS, async |a| {
        a.systemd().wait_for_startup().await?;
        a.shell("mkfifo /run/go; systemctl start --no-block later")
            .await?;
        let later = a.unit("later").timeout(LONG);
        later.wait_for(ActiveState::Activating).await?;
        let waiting = tokio::spawn(std::future::IntoFuture::into_future(later.wait()));
        a.systemd().daemon_reexec().await?;
        assert!(!a.systemd().version().await?.is_empty());
        assert!(!waiting.is_finished());
        a.shell("echo > /run/go").await?;
        waiting.await.expect("no panic")?;
        assert_eq!(later.state().await?, ActiveState::Active);
        Ok(())
    });
}

#[test]
fn a_booted_machine_has_its_units_also_after_a_reboot() {
    let test = "a_booted_machine_has_its_units_also_after_a_reboot";
    in_virtual_machine(test, UNITS, async |a| {
        for _ in 0..2 {
            a.wait_for_unit("counts").timeout(LONG).await?;
            let times = a
                .unit("counts")
                .property("ActiveEnterTimestampMonotonic")
                .await?;
            assert!(times.parse::<u64>().is_ok_and(|us| us > 0), "{times}");
            a.reboot().await?;
        }
        a.wait_for_unit("counts").timeout(LONG).await.map(drop)
    });
}

#[attest::test(lab = Lab::builder().machine("a"))]
async fn a_guest_without_systemd_is_refused_by_name(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    for error in [
        a.wait_for_unit("nginx").await.unwrap_err(),
        a.unit("nginx").start().await.unwrap_err(),
        a.user_unit("root", "x").state().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Systemd(_)), "{error:?}");
        assert_eq!(error.verdict(), Verdict::Failed);
        assert_eq!(
            error.to_string(),
            "a: PID 1 is attest's agent (the bare image has no init system), not systemd; use \
             commands and files instead of units here"
        );
    }
    Ok(())
}
