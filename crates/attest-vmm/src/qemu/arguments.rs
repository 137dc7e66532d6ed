//! QEMU's command line: a pure function of the machine.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};

use crate::{Accelerator, Disk, MachineConfig, MachineType};

/// Numbers of the descriptors under which QEMU finds its sockets.
pub(super) struct Sockets {
    pub(super) qmp: RawFd,
    pub(super) console: RawFd,
    pub(super) agent: RawFd,
}

/// Megabytes of TCG's translation cache. QEMU's default takes a quarter of the host's memory
/// at most 1 GiB; 64 cost a lean guest no time and halve what its VMM holds.
const TRANSLATION_CACHE: u32 = 64;

struct Builder {
    args: Vec<OsString>,
}

impl Builder {
    fn add(&mut self, option: &str, value: impl Into<OsString>) {
        self.args.push(option.into());
        self.args.push(value.into());
    }

    fn socket(&mut self, id: &str, fd: RawFd) {
        self.add("-chardev", format!("socket,id={id},fd={fd}"));
    }
}

/// The name of a virtio device on this board's bus.
fn virtio(board: MachineType, device: &str) -> String {
    match board {
        MachineType::Microvm => format!("virtio-{device}-device"),
        MachineType::Q35 => format!("virtio-{device}-pci"),
    }
}

pub(super) fn build(
    machine: MachineConfig,
    accelerator: Accelerator,
    fast: &[&str],
    sockets: &Sockets,
    pass: &mut dyn FnMut(OwnedFd) -> RawFd,
) -> Vec<OsString> {
    let board = machine.qemu.machine;
    let mut builder = Builder { args: Vec::new() };
    builder.args.extend(["-no-user-config", "-nodefaults"].map(OsString::from));
    builder.add("-display", "none");
    builder.add("-name", format!("attest-{}", machine.name));
    builder.add("-machine", board_options(board));
    match accelerator {
        Accelerator::Tcg => {
            builder.add("-accel", format!("tcg,thread=multi,tb-size={TRANSLATION_CACHE}"));
            // The plainest model: each feature of `max` costs start-up and emulation time.
            builder.add("-cpu", "qemu64");
        }
        Accelerator::Kvm => {
            builder.add("-accel", "kvm");
            builder.add("-cpu", "host");
        }
    }
    builder.add("-smp", machine.vcpus.to_string());
    builder.add("-m", format!("{}M", machine.memory / (1024 * 1024)));
    builder.add("-action", "reboot=shutdown,shutdown=poweroff,panic=shutdown");
    // Says `Triple fault` on stderr, which no event does.
    builder.add("-d", "cpu_reset");
    builder.add("-kernel", machine.kernel.clone());
    builder.add("-initrd", machine.initrd.clone());
    builder.add("-append", kernel_arguments(&machine, fast));
    builder.socket("qmp", sockets.qmp);
    builder.add("-mon", "chardev=qmp,mode=control");
    builder.socket("console", sockets.console);
    builder.add("-serial", "chardev:console");
    builder.socket("agent", sockets.agent);
    builder.add("-device", virtio(board, "serial"));
    builder.add("-device", "virtserialport,chardev=agent,name=attest.0");
    builder.add("-device", virtio(board, "rng"));
    for (index, card) in machine.cards.into_iter().enumerate() {
        let fd = pass(card.tap);
        let [a, b, c, d, e, f] = card.mac;
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        builder.add("-netdev", format!("tap,id=net{index},fd={fd}"));
        builder.add("-device", format!("{},netdev=net{index},mac={mac}", virtio(board, "net")));
    }
    for (index, disk) in machine.disks.into_iter().enumerate() {
        add_disk(&mut builder, board, index, disk, pass);
    }
    builder.args
}

fn board_options(board: MachineType) -> &'static str {
    match board {
        // With ACPI, for distributions' kernels find virtio-mmio devices in its tables only: those
        // of Debian are built without CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES. It also is what
        // switches the machine off. It costs no measurable time.
        MachineType::Microvm => "microvm,acpi=on,isa-serial=on,auto-kernel-cmdline=on,x-option-roms=off",
        MachineType::Q35 => "q35,usb=off,vmport=off,smbus=off,sata=off",
    }
}

fn kernel_arguments(machine: &MachineConfig, fast: &[&str]) -> String {
    let mut arguments = vec!["console=ttyS0", "quiet", "panic=-1", "reboot=t", "random.trust_cpu=on"];
    arguments.extend(fast);
    arguments.extend(machine.kernel_arguments.iter().map(String::as_str));
    arguments.join(" ")
}

fn add_disk(builder: &mut Builder, board: MachineType, index: usize, disk: Disk, pass: &mut dyn FnMut(OwnedFd) -> RawFd) {
    let fd = pass(disk.file);
    builder.add("-add-fd", format!("fd={fd},set={index}"));
    let read_only = if disk.read_only { "on" } else { "off" };
    builder.add(
        "-blockdev",
        format!(
            "raw,node-name=disk{index},read-only={read_only},discard=unmap,file.driver=file,\
             file.filename=/dev/fdset/{index},file.locking=off,file.aio=threads"
        ),
    );
    builder.add("-device", format!("{},drive=disk{index},serial={}", virtio(board, "blk"), disk.serial));
}
