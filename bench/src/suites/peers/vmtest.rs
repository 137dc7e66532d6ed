//! vmtest: a disk image, and a command in it by QEMU's guest agent. Here the image is the suite's, with the kernel and the
//! initramfs of the guest without attest beside it, and the guest agent on a disk of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use attest::manifest::MachinePlan;
use attest_fixture::GuestFile;
use attest_image::root::{self, Profile, RootImage, RootSource, RootSpec};
use attest_image::source;

use super::{Peer, Running, file, files, found, knows_9p, runs_on_kvm, times};
use crate::Result;
use crate::suites::floor::RUNNER;
use crate::suites::suite::Suite;
use crate::suites::times::{Part, Times};

pub(super) const NAME: &str = "vmtest";
/// What it talks to in the guest.
const AGENT: &str = "qemu-guest-agent";
/// It takes KVM wherever `/dev/kvm` is, and has no option for it.
const WITHOUT_KVM: &str = r#"#!/bin/sh
for argument; do
    shift
    case $argument in
        -enable-kvm) set -- "$@" -accel tcg ;;
        host) set -- "$@" qemu64 ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec qemu-system-x86_64 "$@"
"#;
/// With its libraries, which the image has not; and without udev, which would name its port.
const STARTER: &str = r#"#!/bin/sh
mkdir -p /run/agent
mount -t erofs -o ro "/dev/$1" /run/agent
libraries=/run/agent/usr/lib/x86_64-linux-gnu
for port in /sys/class/virtio-ports/*; do
    read -r name < "$port/name" || continue
    if test "$name" = org.qemu.guest_agent.0; then
        exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" \
            /run/agent/usr/sbin/qemu-ga --method=virtio-serial --path="/dev/${port##*/}" \
            --statedir=/run --pidfile=/run/qemu-ga.pid
    fi
done
exit 1
"#;
const UNIT: &str = "\
[Unit]
Description=The guest agent of QEMU
DefaultDependencies=no
After=multi-user.target

[Service]
Environment=HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/floor/agent @DISK@
";
const WANTED: &str = "[Unit]\nWants=agent.service\n";
const NOTES: [&str; 4] = [
    "QEMU's default board, and under TCG the processor qemu64, as it has them; kernel arguments as for the NixOS test driver",
    "the guest has QEMU's guest agent, from a disk of its own, and a directory of the host by 9p, which it mounts",
    "one machine after the other, as it runs its targets",
    "the command begins when systemd has reached multi-user.target and the guest agent has been found",
];

struct Vmtest<'a> {
    suite: &'a Suite,
    program: PathBuf,
    version: String,
    agent: RootImage,
}

pub(super) fn prepare(suite: &Suite) -> Result<std::result::Result<Box<dyn Peer + '_>, String>> {
    let (program, version) = match found(NAME) {
        Ok(found) => found,
        Err(reason) => return Ok(Err(reason)),
    };
    if !knows_9p(suite) {
        return Ok(Err("the kernel knows no 9p".to_owned()));
    }
    let source = RootSource::Debian(source::Debian {
        suite: "bookworm".to_owned(),
        packages: vec![AGENT.to_owned()],
        mirror: None,
        components: vec!["main".to_owned()],
    });
    let spec = RootSpec {
        profile: Profile::Lean,
        ..RootSpec::new(AGENT, source)
    };
    let cache = crate::debian::cache()?;
    let agent = root::build_root(&cache, &spec, &mut |step| eprintln!("{step}"))?;
    Ok(Ok(Box::new(Vmtest {
        suite,
        program,
        version,
        agent,
    })))
}

/// What it runs.
struct Target<'a> {
    name: &'a str,
    image: &'a Path,
    qemu: Option<PathBuf>,
    machine: &'a MachinePlan,
    arguments: Vec<String>,
}

impl Target<'_> {
    /// As it reads it: TOML, in which strings and their lists are as in JSON.
    fn config(&self) -> Result<String> {
        let mut lines = vec![
            "[[target]]".to_owned(),
            format!("name = {}", serde_json::to_string(self.name)?),
            format!("image = {}", serde_json::to_string(self.image)?),
            format!("command = {}", serde_json::to_string(RUNNER)?),
        ];
        if let Some(qemu) = &self.qemu {
            lines.push(format!("qemu_command = {}", serde_json::to_string(qemu)?));
        }
        let memory = format!("{}M", self.machine.memory >> 20);
        lines.extend([
            "[target.vm]".to_owned(),
            format!("num_cpus = {}", self.machine.vcpus),
            format!("memory = {}", serde_json::to_string(&memory)?),
            format!("extra_args = {}", serde_json::to_string(&self.arguments)?),
        ]);
        Ok(lines.join("\n"))
    }
}

impl Peer for Vmtest<'_> {
    fn run(&self) -> Result<Times> {
        let began = Instant::now();
        let place = tempfile::tempdir()?;
        let mut parts: Vec<(Part, Duration)> = Vec::new();
        for machine in &self.suite.plan.machines {
            let own = Instant::now();
            let command = self.command(place.path(), machine)?;
            let root = Instant::now();
            let mut running = Running::new();
            running.start(&machine.name, command)?;
            let said = running.wait()?;
            add(&mut parts, times(own, root, &said).parts);
        }
        Ok(Times::new(began.elapsed(), parts))
    }

    fn notes(&self) -> &'static [&'static str] {
        &NOTES
    }

    fn version(&self) -> &str {
        &self.version
    }
}

impl Vmtest<'_> {
    fn command(&self, place: &Path, machine: &MachinePlan) -> Result<Command> {
        let own = place.join(&machine.name);
        fs::create_dir(&own)?;
        let (disks, _) = self.suite.fixture.disks_of_image();
        let [image, more @ ..] = disks else {
            return Err("the guest has no disk".into());
        };
        // After the image, and before the agent's.
        let letter = char::from(b'a' + u8::try_from(disks.len())?);
        let node = self
            .suite
            .node(machine, agent(self.suite, machine, letter)?)?;
        let initrd = self.suite.fixture.write_initrd(&own, &node)?;
        let words = node.kernel_arguments.join(" ");
        let mut arguments = vec![
            // What the guest writes to its disks goes with it.
            "-snapshot".to_owned(),
            "-kernel".to_owned(),
            self.suite.fixture.kernel().display().to_string(),
            "-initrd".to_owned(),
            initrd.display().to_string(),
            "-append".to_owned(),
            format!(
                "console=ttyS0 quiet panic=-1 fixture.name={} {words}",
                node.name
            ),
        ];
        let disks = more.iter().map(PathBuf::as_path);
        for (number, disk) in disks.chain([&*self.agent.path]).enumerate() {
            let file = disk.display();
            arguments.extend([
                "-drive".to_owned(),
                format!("file={file},format=raw,if=none,id=read{number},readonly=on"),
                "-device".to_owned(),
                format!("virtio-blk-pci,drive=read{number}"),
            ]);
        }
        let target = Target {
            name: &node.name,
            image,
            qemu: qemu(&own)?,
            machine,
            arguments,
        };
        let config = own.join("vmtest.toml");
        fs::write(&config, target.config()?)?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(config).current_dir(&own);
        Ok(command)
    }
}

fn add(sums: &mut Vec<(Part, Duration)>, more: Vec<(Part, Duration)>) {
    for (part, took) in more {
        match sums.iter_mut().find(|(is, _)| *is == part) {
            Some((_, sum)) => *sum += took,
            None => sums.push((part, took)),
        }
    }
}

/// A machine's files, with the guest agent.
fn agent(suite: &Suite, machine: &MachinePlan, letter: char) -> Result<Vec<GuestFile>> {
    let unit = UNIT.replace("@DISK@", &format!("vd{letter}"));
    let systemd = "/etc/systemd/system";
    let mut files = files(suite, machine)?;
    files.extend([
        file("/floor/agent", 0o755, STARTER),
        file(&format!("{systemd}/agent.service"), 0o644, &unit),
        file(
            &format!("{systemd}/multi-user.target.d/agent.conf"),
            0o644,
            WANTED,
        ),
    ]);
    Ok(files)
}

/// What it starts in the place of QEMU, where it must.
fn qemu(place: &Path) -> Result<Option<PathBuf>> {
    if runs_on_kvm() {
        return Ok(None);
    }
    let path = place.join("qemu");
    fs::write(&path, WITHOUT_KVM)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(Some(path))
}
