//! virtme-ng: a kernel on a directory of the host. Here that is the suite's image with memory above it, and `--systemd`
//! starts its systemd.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use attest::manifest::MachinePlan;
use attest_fixture::GuestFile;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

use super::{Peer, Running, file, files, found, knows_9p, runs_on_kvm, times};
use crate::Result;
use crate::by_hand::apart;
use crate::by_hand::container::{mount_image, overlay, put};
use crate::suites::suite::Suite;
use crate::suites::times::Times;

pub(super) const NAME: &str = "virtme-ng";
const PROGRAM: &str = "vng";
/// It does without, by 9p, after having waited for it.
const SHARES: &str = "virtiofsd";
/// What it takes the command's output by has names that udev gives; the image has none.
const PORTS: &str = r#"mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    read -r name < "$port/name" || continue
    ln -sf "../${port##*/}" "/dev/virtio-ports/$name"
done
"#;
const NAMER: &str = "/floor/ports";
/// Of which it says itself what is started. Not masked, as it is in the image, and waiting for no device, for without udev
/// there is none.
const GETTY: &str = "\
[Unit]
DefaultDependencies=no
After=multi-user.target

[Service]
ExecStartPre=/floor/ports
";
/// What starts it on the lines that there are, masked in the image.
const GENERATOR: &str = "etc/systemd/system-generators/systemd-getty-generator";
/// Its init mounts a new file system over what services have begun to use.
const COMMAND: &str = "umount /dev/shm /var/log; exec /floor/run";
const NOTES: [&str; 4] = [
    "its own kernel arguments, and under TCG the board q35 with the processor that it chooses",
    "the root is a directory of the host, shared by virtiofs or 9p, not a disk",
    "it begins when systemd has reached multi-user.target; what its init mounts over /dev/shm and /var/log is unmounted first",
    "serial-getty@.service and its generator, by which it starts the command, are not masked as they are in the image",
];

struct Virtme<'a> {
    suite: &'a Suite,
    program: PathBuf,
    version: String,
    /// The kernel with its modules as it looks for them.
    kernel: tempfile::TempDir,
}

pub(super) fn prepare(suite: &Suite) -> Result<std::result::Result<Box<dyn Peer + '_>, String>> {
    let (program, version) = match found(PROGRAM) {
        Ok(found) => found,
        Err(reason) => return Ok(Err(reason)),
    };
    if found(SHARES).is_err() && !knows_9p(suite) {
        let reason = format!("there is no `{SHARES}` on PATH, and the kernel knows no 9p");
        return Ok(Err(reason));
    }
    Ok(Ok(Box::new(Virtme {
        suite,
        program,
        version,
        kernel: kernel(suite)?,
    })))
}

/// A root with just the kernel, whose modules have the indices that modprobe looks into.
fn kernel(suite: &Suite) -> Result<tempfile::TempDir> {
    let root = tempfile::tempdir()?;
    let kernel = &suite.kernel;
    let boot = root.path().join("boot");
    fs::create_dir(&boot)?;
    symlink(
        &kernel.image,
        boot.join(format!("vmlinuz-{}", kernel.release)),
    )?;
    let Some(modules) = &kernel.modules else {
        return Ok(root);
    };
    let own = root.path().join("lib/modules").join(&kernel.release);
    fs::create_dir_all(&own)?;
    for entry in fs::read_dir(modules)? {
        let entry = entry?;
        symlink(entry.path(), own.join(entry.file_name()))?;
    }
    // Made anew, not through the link.
    let _ = fs::remove_file(own.join("modules.dep"));
    let status = Command::new("depmod")
        .arg("-b")
        .args([root.path(), Path::new(&kernel.release)])
        .status()?;
    if status.success() {
        return Ok(root);
    }
    Err(format!("depmod ended with {status}").into())
}

impl Peer for Virtme<'_> {
    fn run(&self) -> Result<Times> {
        let began = Instant::now();
        apart(CloneFlags::empty(), |place| {
            let lower = mount_image(place, self.suite.image())?;
            let machines = &self.suite.plan.machines;
            let roots: Result<Vec<PathBuf>> = machines
                .iter()
                .map(|machine| self.root(place, &lower, machine))
                .collect();
            let roots = roots?;
            let root = Instant::now();
            let mut running = Running::new();
            for (machine, root) in machines.iter().zip(&roots) {
                running.start(&machine.name, self.command(place, root, machine))?;
            }
            let said = running.wait()?;
            Ok(times(began, root, &said))
        })
    }

    fn notes(&self) -> &'static [&'static str] {
        &NOTES
    }

    fn version(&self) -> &str {
        &self.version
    }
}

impl Virtme<'_> {
    /// Of a machine: with its files, and the kernel's modules.
    fn root(&self, place: &Path, lower: &Path, machine: &MachinePlan) -> Result<PathBuf> {
        let root = overlay(place, lower, &machine.name)?;
        fs::remove_file(root.join(GENERATOR))?;
        put(&root, &self.files(machine)?)?;
        if let Some(modules) = &self.suite.kernel.modules {
            let own = root
                .join("usr/lib/modules")
                .join(&self.suite.kernel.release);
            fs::create_dir_all(&own)?;
            let bind = MsFlags::MS_BIND;
            mount(Some(modules), &own, None::<&str>, bind, None::<&str>)?;
        }
        Ok(root)
    }

    fn files(&self, machine: &MachinePlan) -> Result<Vec<GuestFile>> {
        let mut files = files(self.suite, machine)?;
        let getty = "/etc/systemd/system/serial-getty@.service";
        files.push(file(getty, 0o644, GETTY));
        files.push(file(NAMER, 0o755, &format!("#!/bin/sh\n{PORTS}")));
        Ok(files)
    }

    fn command(&self, place: &Path, root: &Path, machine: &MachinePlan) -> Command {
        let release = &self.suite.kernel.release;
        let kernel = self
            .kernel
            .path()
            .join("boot")
            .join(format!("vmlinuz-{release}"));
        let mut command = Command::new(&self.program);
        command
            .arg("--run")
            .arg(kernel)
            .arg("--root")
            .arg(root)
            .args(["--rw", "--user", "root", "--systemd", "--exec", COMMAND])
            .args(["--name", &machine.name])
            .args(["--cpus", &machine.vcpus.to_string()])
            .args(["--memory", &format!("{}M", machine.memory >> 20)]);
        if !runs_on_kvm() {
            command.arg("--disable-kvm");
        }
        // What it keeps in its user's home is of no use to anybody else.
        command.env("HOME", place).env("TMPDIR", place);
        command.env("PATH", with_own_programs(&self.program));
        command.current_dir(place);
        command
    }
}

/// It starts its own second half by name.
fn with_own_programs(program: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = program.parent().map(Path::to_owned).into_iter();
    std::env::join_paths(own.chain(std::env::split_paths(&path))).unwrap_or(path)
}
