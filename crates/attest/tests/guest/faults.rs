//! Faults on purpose: each ends in an error that names the machine and the cause, in time, with
//! the console kept.

use std::fs;
use std::time::Duration;

use attest::events::MachineEnding;
use attest::{Error, Lab, LabBuilder, Machine, Result};

use crate::support::{LONG, failed, one, one_with_arguments, silent, text};

/// Boot a lab that cannot, and give its error and its console.
async fn refused(builder: LabBuilder) -> (Error, String) {
    let output = tempfile::tempdir().unwrap();
    let context = silent(output.path());
    let error = failed(builder.context(context).boot().await);
    let console = fs::read(output.path().join("a.console.log")).unwrap();
    (error, String::from_utf8_lossy(&console).into_owned())
}

fn ending(error: &Error) -> MachineEnding {
    match error {
        Error::MachineEnded { ending, .. } => *ending,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_agent_that_never_starts_is_waited_for_no_longer_than_a_boot_may_take() {
    let guest = one_with_arguments(&["loglevel=7", "rdinit=/bin/busybox", "--", "sleep", "1000"]);
    let (error, console) = refused(guest.boot_timeout(Duration::from_secs(4))).await;
    let message = error.to_string();
    assert!(
        message.starts_with(
            "a: the agent did not answer within 4s of the start; last on the console: "
        ),
        "{message}"
    );
    assert!(
        console.contains("Run /bin/busybox as init process"),
        "{console}"
    );
    assert_eq!(error.verdict(), attest::events::Verdict::Infrastructure);
}

/// The kernel gives its init what it does not know itself.
#[tokio::test]
async fn words_that_the_kernel_does_not_know_are_not_for_the_agent() {
    let output = tempfile::tempdir().unwrap();
    let builder = one_with_arguments(&["nokaslr", "single"]);
    let lab = builder.context(silent(output.path())).boot().await.unwrap();
    let said = text(&lab.machine("a").unwrap(), "cat /proc/cmdline").await;
    assert!(said.unwrap().contains(" nokaslr single"));
    lab.shutdown().await;
}

#[tokio::test]
async fn a_guest_that_dies_while_booting_is_not_waited_for() {
    let (error, console) =
        refused(one_with_arguments(&["rdinit=/bin/busybox", "--", "true"])).await;
    assert_eq!(ending(&error), MachineEnding::Panic, "{error:?}");
    assert!(
        error.to_string().contains("Attempted to kill init"),
        "{error}"
    );
    assert!(console.contains("Kernel panic"), "{console}");
}

/// A guest whose first process feeds the agent's port, and ends.
fn speaks(feed: &str) -> LabBuilder {
    let script = format!(
        "/bin/busybox mkdir -p /dev /proc; /bin/busybox mount -t devtmpfs dev /dev; \
         while read -r line; do for word in $line; do case $word in /*.ko) /bin/busybox insmod $word;; esac; done; done < /lib/attest/modules; \
         while [ ! -e /dev/vport0p1 ]; do /bin/busybox usleep 1000; done; \
         {feed}; echo fed > /dev/console; /bin/busybox poweroff -f"
    );
    let quoted = format!("\"{script}\"");
    one_with_arguments(&["rdinit=/bin/busybox", "--", "sh", "-c", &quoted])
}

#[tokio::test]
async fn a_guest_that_sends_garbage_is_no_agent() {
    let feeds = [
        // Noise; frames that claim to be as long as can be; the beginning of one, and no more.
        "/bin/busybox dd if=/dev/urandom of=/dev/vport0p1 bs=4k count=512",
        "/bin/busybox yes xxxxxxxx | /bin/busybox tr x '\\377' | /bin/busybox dd of=/dev/vport0p1 bs=4k count=512",
        "/bin/busybox printf '\\0\\0' > /dev/vport0p1",
    ];
    let garbled = feeds.map(async |feed| {
        let (error, console) = refused(speaks(feed)).await;
        assert!(console.contains("fed"), "{error}: {console}");
        assert_eq!(ending(&error), MachineEnding::PoweredOff, "{error:?}");
    });
    attest::wait_all(garbled).await;
}

#[attest::test(lab = one())]
async fn an_agent_that_is_killed_takes_its_guest_along(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    // As PID 1 it takes no signal of others, so its code is overwritten.
    let waiting = tokio::spawn({
        let a = a.clone();
        async move { a.wait_for_file("/never").timeout(LONG).await }
    });
    let kill = "range=$(grep -m1 'r-xp' /proc/1/maps | cut -d' ' -f1); \
                from=$((0x${range%-*} / 4096)); to=$((0x${range#*-} / 4096)); \
                dd if=/dev/zero of=/proc/1/mem bs=4096 seek=$from count=$((to - from)) conv=notrunc";
    let error = failed(a.shell(kill).timeout(LONG).await);
    assert_eq!(ending(&error), MachineEnding::Panic, "{error:?}");
    assert!(
        error.to_string().contains("Attempted to kill init"),
        "{error}"
    );
    let waited = failed(waiting.await.expect("no panic"));
    assert_eq!(ending(&waited), MachineEnding::Panic);
    Ok(())
}

#[attest::test(lab = one())]
async fn a_panic_in_the_middle_of_commands_ends_all_of_them(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let long: Vec<_> = (0..3)
        .map(|_| tokio::spawn(a.exec(["sleep", "1009"]).timeout(LONG).into_future()))
        .collect();
    a.wait_for_process("sleep 1009").timeout(LONG).await?;
    let error = failed(a.shell("echo c > /proc/sysrq-trigger").timeout(LONG).await);
    assert_eq!(ending(&error), MachineEnding::Panic, "{error:?}");
    assert!(
        error.to_string().contains("sysrq triggered crash"),
        "{error}"
    );
    for command in long {
        assert_eq!(
            ending(&failed(command.await.expect("no panic"))),
            MachineEnding::Panic
        );
    }
    assert_eq!(ending(&a.ended().await), MachineEnding::Panic);
    assert!(kept(
        &a,
        "Kernel panic - not syncing: sysrq triggered crash"
    ));
    // What ended can be started again.
    a.start().await?;
    a.shell("true").await?;
    Ok(())
}

fn kept(machine: &Machine, text: &str) -> bool {
    fs::read_to_string(machine.console_file())
        .unwrap()
        .contains(text)
}

#[attest::test(lab = one())]
async fn a_vmm_that_is_killed_is_said_to_have_crashed(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let vmm =
        rustix::process::Pid::from_raw(a.vmm_pid().await.unwrap().try_into().unwrap()).unwrap();
    let command = a.exec(["sleep", "1010"]).timeout(LONG).spawn().await?;
    rustix::process::kill_process(vmm, rustix::process::Signal::KILL).unwrap();
    let error = failed(command.wait().await);
    assert_eq!(ending(&error), MachineEnding::VmmCrashed);
    assert!(error.to_string().contains("signal 9"), "{error}");
    Ok(())
}

// The harness would end the test with the lab.
#[tokio::test]
async fn a_lab_process_that_is_killed_ends_everything() -> Result<()> {
    let output = tempfile::tempdir().unwrap();
    let lab = one().context(silent(output.path())).boot().await?;
    let a = lab.machine("a")?;
    let command = a.exec(["sleep", "1011"]).timeout(LONG).spawn().await?;
    let pid = rustix::process::Pid::from_raw(lab.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(
        ending(&failed(command.wait().await)),
        MachineEnding::VmmCrashed
    );
    let error = lab.ended().await;
    assert!(
        error.chain().contains("was killed by signal 9"),
        "{}",
        error.chain()
    );
    Ok(())
}

#[attest::test(lab = one())]
async fn a_console_of_ten_thousand_lines_a_second_is_kept_whole(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let printing = a.shell(
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo \"line $i of many\"; done > /dev/console",
    );
    let printing = tokio::spawn(printing.timeout(LONG).into_future());
    a.wait_for_console_text("line 100 of many")
        .timeout(LONG)
        .await?;
    // Commands go their own way meanwhile.
    a.shell("true").await?;
    printing.await.expect("no panic")?;
    a.wait_for_console_text("line 20000 of many")
        .timeout(LONG)
        .await?;
    let console = fs::read_to_string(a.console_file()).unwrap();
    let lines = console
        .lines()
        .filter(|line| line.ends_with(" of many"))
        .count();
    assert_eq!(lines, 20_000);
    Ok(())
}

#[attest::test(lab = one())]
async fn a_guest_without_room_says_so(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.shell("mkdir /small; mount -t tmpfs -o size=64k none /small")
        .await?;
    let error = failed(a.shell("head -c 1000000 /dev/zero > /small/x").await);
    // What a program has printed of it, be it as little as busybox prints, is in the message.
    assert!(error.to_string().contains("head: "), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), vec![1; 1_000_000]).unwrap();
    let error = failed(a.upload(file.path(), "/small/y").await);
    assert!(
        error.to_string().contains("No space left on device"),
        "{error}"
    );
    Ok(())
}
