//! What a snapshot holds of a machine, and what must be other in each that goes on from it.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use attest::manifest::{Disk, Size};
use attest::{Error, Lab, LabBuilder, Machine, Result, Run};

use crate::support::{LONG, failed, one, text};
use crate::two;

/// How far a guest's wall clock may be from the host's after it went on.
const CLOCK: Duration = Duration::from_millis(50);
/// How often the clock is read: the median leaves out what a busy host makes of single ones.
const READINGS: usize = 9;

/// How far a guest's wall clock is from the host's, at least: it was read at some instant between the request and
/// the answer, and the time that these took is nobody's fault.
async fn clock_difference(machine: &Machine) -> Result<Duration> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    let mut differences = Vec::new();
    for _ in 0..READINGS {
        let before = now();
        let guest = Duration::from_nanos(machine.stats().await?.clock_ns);
        let after = now();
        differences.push(before.saturating_sub(guest) + guest.saturating_sub(after));
    }
    differences.sort();
    Ok(differences[READINGS / 2])
}

#[attest::test(lab = one())]
async fn the_wall_clock_is_the_hosts_and_the_others_continue(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let began = Instant::now();
    let before = a.stats().await?;
    // As far from the host's as that of a snapshot of long ago.
    a.shell("date -s @1000000").await?;
    assert!(clock_difference(&a).await? > CLOCK);
    let snapshot = lab.snapshot().await?;
    let fork = snapshot.fork().await?;
    lab.restore(&snapshot).await?;
    for (what, lab) in [("put back", &lab), ("forked", &fork)] {
        let a = lab.machine("a")?;
        let difference = clock_difference(&a).await?;
        println!("{what}: the wall clock is {difference:?} from the host's");
        assert!(difference < CLOCK, "{what}: {difference:?}");
        let now = a.stats().await?;
        assert_eq!(now.userspace_ns, before.userspace_ns, "{what}");
        // They neither begin anew, nor jump over what passed on the host meanwhile. The kernel knows how fast its
        // clock is to some thousandths only.
        let passed = began.elapsed();
        let most = before.uptime_ns + u64::try_from((passed + passed / 100).as_nanos()).unwrap();
        assert!(
            (before.uptime_ns..most).contains(&now.uptime_ns),
            "{what}: {before:?}, {now:?}, {passed:?} later"
        );
        // Of the monotonic clock, in milliseconds.
        let monotonic = text(&a, "grep -m1 '^now at' /proc/timer_list").await?;
        let monotonic: u64 = monotonic
            .split_whitespace()
            .nth(2)
            .and_then(|number| number.parse().ok())
            .expect("a number");
        let uptime = a.stats().await?.uptime_ns;
        assert!(
            (now.uptime_ns..uptime).contains(&monotonic),
            "{what}: {now:?}, {monotonic}, {uptime}"
        );
    }
    fork.shutdown().await;
    Ok(())
}

/// Random bytes of all that the kernel gives: its devices, `getrandom`, its own numbers, and those that a program
/// gets at its start.
const RANDOM: &str = "head -c 1048576 /dev/urandom; head -c 65536 /dev/random; \
                      for i in $(seq 64); do cat /proc/sys/kernel/random/uuid; done; \
                      for i in $(seq 16); do mktemp -u XXXXXXXXXXXXXXXX; done";
/// What is compared: so many random bytes are never twice the same.
const BLOCK: usize = 16;

#[attest::test(lab = one())]
async fn two_forks_never_give_the_same_random_bytes(lab: Lab) -> Result<()> {
    let snapshot = lab.snapshot().await?;
    let (one, two) = tokio::join!(snapshot.fork(), snapshot.fork());
    let (one, two) = (one?, two?);
    let later = one.snapshot().await?;
    let three = later.fork().await?;
    let mut seen = HashSet::new();
    for lab in [&lab, &one, &two, &three] {
        let random = lab
            .machine("a")?
            .shell(RANDOM)
            .output_limit(4 << 20)
            .await?;
        // The kinds end where they may: what is compared must begin at the same places.
        let blocks = random.stdout.chunks_exact(BLOCK);
        assert!(blocks.len() > 1 << 16);
        for block in blocks {
            assert!(seen.insert(block.to_vec()), "{block:?} twice");
        }
    }
    for lab in [one, two, three] {
        lab.shutdown().await;
    }
    Ok(())
}

/// A disk that begins empty, and one that begins as a file of the host's.
fn with_disks(source: &Path) -> LabBuilder {
    let scratch = Disk {
        size: Some(Size::from_mib(16)),
        ..Disk::default()
    };
    let overlay = Disk {
        source: Some(source.to_owned()),
        ..Disk::default()
    };
    Lab::builder().machine_with("a", |machine| machine.disks = vec![scratch, overlay])
}

/// Write a word to a block of both disks.
async fn write(lab: &Lab, block: u32, word: &str) -> Result<()> {
    let command = format!(
        "for disk in vda vdb; do printf '%-512s' {word} | dd of=/dev/$disk bs=512 seek={block} conv=fsync 2>/dev/null; done"
    );
    lab.machine("a")?.shell(command).await?;
    Ok(())
}

/// The words of the first blocks of both disks, as these have them: nothing of it is kept in memory.
async fn words(lab: &Lab) -> Result<[String; 2]> {
    let read = |disk: &str| {
        format!("dd if=/dev/{disk} bs=512 count=5 2>/dev/null | tr -d '\\0' | tr -s ' ' ' '")
    };
    let a = lab.machine("a")?;
    a.shell("echo 3 > /proc/sys/vm/drop_caches").await?;
    let words = [text(&a, &read("vda")).await?, text(&a, &read("vdb")).await?];
    Ok(words.map(|words| words.trim().to_owned()))
}

#[test]
fn disks_are_saved_with_all_else_and_forks_write_apart() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("data.raw");
    let mut bytes = vec![0; 1 << 20];
    bytes[..7].copy_from_slice(b"source ");
    std::fs::write(&source, &bytes).unwrap();
    let context = crate::support::silent(directory.path());
    let test = async {
        let lab = with_disks(&source).context(context).boot().await?;
        write(&lab, 1, "saved").await?;
        let first = lab.snapshot().await?;
        write(&lab, 2, "lab").await?;
        // Each goes on from the one before it.
        let one = first.fork().await?;
        write(&one, 2, "one").await?;
        let second = one.snapshot().await?;
        write(&one, 3, "more").await?;
        let two = second.fork().await?;
        write(&two, 3, "two").await?;
        let third = two.snapshot().await?;
        let three = third.fork().await?;
        write(&three, 4, "three").await?;
        for (lab, expected) in [
            (&lab, "saved lab"),
            (&one, "saved one more"),
            (&two, "saved one two"),
            (&three, "saved one two three"),
        ] {
            let [scratch, overlay] = words(lab).await?;
            assert_eq!(scratch, expected);
            assert_eq!(overlay, format!("source {expected}"));
        }
        for lab in [one, two, three] {
            lab.shutdown().await;
        }
        // And from all of them, after those that wrote them are gone.
        for (snapshot, expected) in [(&third, "saved one two"), (&first, "saved")] {
            lab.restore(snapshot).await?;
            let [scratch, overlay] = words(&lab).await?;
            assert_eq!(scratch, expected);
            assert_eq!(overlay, format!("source {expected}"));
            write(&lab, 1, "lost").await?;
        }
        lab.shutdown().await;
        Ok::<_, Error>(())
    };
    test.run().unwrap();
    assert!(std::fs::read(&source).unwrap() == bytes);
}

#[attest::test(lab = crate::with_scratch())]
async fn file_systems_are_whole_and_take_writes(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.shell(
        "mke2fs /dev/vda && mkdir /mnt && mount -t ext4 /dev/vda /mnt && echo saved > /mnt/file",
    )
    .await?;
    let snapshot = lab.snapshot().await?;
    let fork = snapshot.fork().await?;
    for (lab, word) in [(&lab, "lab"), (&fork, "fork")] {
        let a = lab.machine("a")?;
        // One that stayed frozen would take no write.
        a.shell(format!("echo {word} >> /mnt/file && sync"))
            .timeout(LONG)
            .await?;
        a.shell("umount /mnt && mount -t ext4 /dev/vda /mnt")
            .await?;
        assert_eq!(text(&a, "cat /mnt/file").await?, format!("saved\n{word}\n"));
    }
    fork.shutdown().await;
    Ok(())
}

#[attest::test(lab = two())]
async fn a_machine_that_is_off_is_off_in_all(lab: Lab) -> Result<()> {
    let (a, b) = (lab.machine("a")?, lab.machine("b")?);
    b.power_off().await?;
    let snapshot = lab.snapshot().await?;
    assert!(a.is_ready() && !b.is_running());
    let fork = snapshot.fork().await?;
    let off = fork.machine("b")?;
    assert!(!off.is_running());
    let error = off.shell("true").await.unwrap_err();
    assert_eq!(error.to_string(), "b: the machine is off; start it first");
    // It can be started there, on the networks of its lab.
    off.start().await?;
    off.shell("ping -c1 a").await?;
    fork.shutdown().await;
    // What was started since goes off again.
    b.start().await?;
    lab.restore(&snapshot).await?;
    assert!(!b.is_running());
    a.shell("true").await?;
    Ok(())
}

#[attest::test(lab = two())]
async fn a_machine_is_put_back_alone(lab: Lab) -> Result<()> {
    let (a, b) = (lab.machine("a")?, lab.machine("b")?);
    let snapshot = a.snapshot().await?;
    for machine in [&a, &b] {
        machine.shell("touch /since").await?;
    }
    a.restore(&snapshot).await?;
    a.shell("test ! -e /since").await?;
    b.shell("test -e /since && ping -c1 a").await?;
    let error = b.restore(&snapshot).await.unwrap_err();
    assert_eq!(error.to_string(), "no machine `a` in this lab; it has: b");
    a.power_off().await?;
    let off = failed(a.snapshot().await);
    assert_eq!(off.to_string(), "a: the machine is off; start it first");
    // One that is off is put back, too.
    a.restore(&snapshot).await?;
    a.shell("test ! -e /since").await?;
    Ok(())
}
