//! A Debian in a virtual machine, from QEMU's start to the first output of a command and to
//! `multi-user.target`, beside the same Debian that is tuned and started by hand.
//!
//! Both have the same QEMU, board, processors, memory, kernel, kernel arguments, and the same image
//! below an overlay in memory. By hand, a shell script in an initramfs loads the four modules that
//! this takes, mounts it, and adds two units to it that print a word at the console: one as early
//! as systemd starts anything, one behind `multi-user.target`. attest instead has its agent and a
//! channel to it, runs a command, and asks systemd.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use attest::Backend;
use attest_image::bare::{self, BareOptions};
use attest_image::tree::{Node, Tree};
use attest_image::{Cache, Kernel, KernelSource, cpio};
use tempfile::NamedTempFile;

use crate::by_hand::qemu::Started;
use crate::figure::{Compared, Report, median_ms};
use crate::{Result, debian};

const SAMPLES: usize = 5;
/// What attest's may take in place of the one by hand.
const MARGIN: f64 = 1.1;
const FIRST: &str = "attest-bench-first";
const LAST: &str = "attest-bench-multi-user";
/// What it takes to mount the root on the default board.
const MODULES: [&str; 4] = ["virtio_mmio", "virtio_blk", "erofs", "overlay"];
/// Where the script is in the initramfs.
const SCRIPT: &str = "by-hand";

pub(crate) async fn run(report: &Report) -> Result<()> {
    let cache = debian::cache()?;
    let image = match debian::image(&cache)? {
        Ok(image) => image,
        Err(reason) => {
            report.skipped("multi-user", &reason);
            return Ok(());
        }
    };
    let initrd = initrd(&cache)?;
    let (mut ours, mut hands) = (Times::default(), Times::default());
    for _ in 0..SAMPLES {
        let command = with_attest(&mut ours).await?;
        let mut by_hand = by_hand(&command, initrd.path(), &image.path)?;
        let heard = tokio::task::spawn_blocking(move || by_hand.hear()).await?;
        let (first, last) = heard?;
        hands.first.push(first);
        hands.last.push(last);
    }
    let figures = [
        ("multi-user/first-output", &ours.first, &hands.first),
        ("multi-user/target", &ours.last, &hands.last),
    ];
    for (name, ours, hands) in figures {
        let compared = Compared {
            what: "tuned and started by hand",
            median: median_ms(hands),
        };
        report.milliseconds(name, ours, None, Some(compared));
        report.ratio(&format!("{name}-to-by-hand"), ours, hands, MARGIN);
    }
    Ok(())
}

/// From QEMU's start to each of the two.
#[derive(Default)]
struct Times {
    first: Vec<Duration>,
    last: Vec<Duration>,
}

/// Gives QEMU's command line.
async fn with_attest(times: &mut Times) -> Result<Vec<String>> {
    let output = tempfile::tempdir()?;
    let manifest = debian::manifest(Backend::Qemu, &["guest"], &[]);
    let lab = debian::create(manifest, output.path()).await?;
    let guest = lab.machine("guest")?;
    let began = Instant::now();
    guest.start().await?;
    let said = guest.exec(["echo", FIRST]).await?;
    times.first.push(began.elapsed());
    if said.text().trim() != FIRST {
        return Err(format!("the guest said {:?}", said.text()).into());
    }
    guest.wait_for_unit("multi-user.target").await?;
    times.last.push(began.elapsed());
    let pid = guest.vmm_pid().await.ok_or("the machine has no VMM")?;
    let command = crate::boot::command_line(pid)?;
    lab.shutdown().await;
    Ok(command)
}

/// The built-in guest's, with the script beside it: a kernel takes archives one after the other.
fn initrd(cache: &Cache) -> Result<NamedTempFile> {
    let kernel = Kernel::find(cache, &KernelSource::Auto, &mut |_| {})?;
    let options = BareOptions::new(attest_embed::AGENT, &MODULES);
    let guest = bare::build(cache, &kernel, &options)?;
    let mut tree = Tree::new();
    tree.insert(SCRIPT, Node::file(0o755, script()))?;
    let mut bytes = std::fs::read(&guest.initrd)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(cpio::pack(&tree)?);
    let mut file = NamedTempFile::new()?;
    file.write_all(&bytes)?;
    Ok(file)
}

fn script() -> String {
    let unit = |name: &str, after: &str, wanted_by: &str, word: &str| {
        format!(
            "cat > $units/{name}.service <<EOF\n\
             [Unit]\nDefaultDependencies=no\n{after}\n\
             [Service]\nExecStart=/bin/sh -c 'echo {word} > /dev/console'\n\
             EOF\n\
             mkdir -p $units/{wanted_by}.wants\n\
             ln -s ../{name}.service $units/{wanted_by}.wants/\n"
        )
    };
    let first = unit("bench-first", "", "sysinit.target", FIRST);
    let last = unit(
        "bench-last",
        "After=multi-user.target",
        "multi-user.target",
        LAST,
    );
    format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin:/sbin:/usr/bin:/usr/sbin\n\
         cd /\n\
         mount -t devtmpfs devices /dev\n\
         tab=$(printf '\\t')\n\
         while IFS=$tab read -r files devices; do\n\
         for file in $files; do insmod $file 2>/dev/null; done\n\
         done < /lib/attest/modules\n\
         mkdir /lower /written /new\n\
         mount -t erofs -o ro /dev/vda /lower\n\
         mount -t tmpfs written /written\n\
         mkdir /written/upper /written/work\n\
         mount -t overlay -o lowerdir=/lower,upperdir=/written/upper,workdir=/written/work root /new\n\
         units=/new/etc/systemd/system\n\
         {first}{last}\
         mount --move /dev /new/dev\n\
         exec switch_root -c /dev/console /new /sbin/init\n"
    )
}

/// A virtual machine that runs; it ends with this.
struct ByHand {
    began: Instant,
    qemu: Child,
}

/// Start one with what attest chose for its own.
fn by_hand(attests: &[String], initrd: &Path, image: &Path) -> Result<ByHand> {
    let started = Started {
        attests,
        kernel: None,
        initrd,
        words: &format!("rdinit=/{SCRIPT}"),
        disks: &[image],
    };
    let mut command = started.command()?;
    let began = Instant::now();
    let qemu = command.spawn()?;
    Ok(ByHand { began, qemu })
}

impl ByHand {
    /// When it said each word.
    fn hear(&mut self) -> Result<(Duration, Duration)> {
        let console = self.qemu.stdout.take().ok_or("no console")?;
        let mut lines = BufReader::new(console)
            .split(b'\n')
            .map_while(std::result::Result::ok);
        let mut said = Vec::new();
        let mut hear = |word: &str| {
            let found = lines.find(|line| {
                let line = String::from_utf8_lossy(line).into_owned();
                let is_it = line.contains(word);
                said.push(line);
                is_it
            });
            match found {
                Some(_) => Ok(self.began.elapsed()),
                None => Err(format!(
                    "the guest that was started by hand did not say {word}, but:\n{}",
                    said.join("\n")
                )),
            }
        };
        Ok((hear(FIRST)?, hear(LAST)?))
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
