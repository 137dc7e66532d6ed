//! QEMU's command line: a pure function of the machine.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::FileType;

use super::cards;
use crate::{Accelerator, Disk, DiskFile, DiskFormat, MachineType, Ram, VirtualConfig, Wire};

/// Numbers of the descriptors under which QEMU finds its sockets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sockets {
    pub(super) qmp: RawFd,
    pub(super) console: RawFd,
    pub(super) agent: RawFd,
}

/// MiB of TCG's translation cache. QEMU's default goes up to 1 GiB, by the host's memory. 64
/// cost no time, and a VMM with a systemd guest holds 315 MB in place of 620 (QEMU 7.2).
const TRANSLATION_CACHE: u32 = 64;

/// What was found out about the host, and what follows from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub(super) accelerator: Accelerator,
    /// Kernel arguments.
    pub(super) fast: &'a [String],
    /// Whether the guest has to find its clock's frequency by itself.
    pub(super) calibrates: bool,
}

pub(super) struct Builder {
    args: Vec<OsString>,
    pub(super) board: MachineType,
}

impl Builder {
    pub(super) fn add(&mut self, option: &str, value: impl Into<OsString>) {
        self.args.push(option.into());
        self.args.push(value.into());
    }

    fn socket(&mut self, id: &str, fd: RawFd) {
        self.add("-chardev", format!("socket,id={id},fd={fd}"));
    }

    /// A virtio device on this board's bus.
    pub(super) fn virtio(&mut self, device: &str, options: &str) {
        let bus = match self.board {
            MachineType::Microvm => "device",
            MachineType::Q35 => "pci",
        };
        self.add("-device", format!("virtio-{device}-{bus}{options}"));
    }
}

/// Make a value safe inside an option list.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// The arguments for this machine, with the way of each of its cards' frames; `pass` hands QEMU a descriptor and returns
/// its number there.
pub(super) fn build(
    name: &str,
    machine: VirtualConfig,
    wires: Vec<Wire>,
    chosen: Chosen<'_>,
    sockets: Sockets,
    pass: &mut dyn FnMut(OwnedFd) -> RawFd,
) -> Vec<OsString> {
    let append = kernel_arguments(chosen.fast, &machine.kernel_arguments);
    let mut builder = Builder {
        args: Vec::new(),
        board: machine.qemu.machine,
    };
    builder
        .args
        .extend(["-no-user-config", "-nodefaults"].map(OsString::from));
    builder.add("-display", "none");
    builder.add("-name", format!("guest=attest-{}", escaped(name)));
    let mut board = board_options(machine.qemu.machine, chosen.calibrates);
    board.push_str(add_ram(&mut builder, machine.memory, machine.ram, pass));
    builder.add("-machine", board);
    add_processor(&mut builder, chosen.accelerator, machine.vcpus);
    builder.add("-m", mebibytes(machine.memory));
    if machine.waits {
        builder.add("-incoming", "defer");
        // Started by attest, with all others of the lab.
        builder.args.push("-S".into());
    }
    builder.add(
        "-action",
        "reboot=shutdown,shutdown=poweroff,panic=shutdown",
    );
    builder.add("-kernel", machine.kernel);
    builder.add("-initrd", machine.initrd);
    builder.add("-append", append);
    builder.socket("qmp", sockets.qmp);
    builder.add("-mon", "chardev=qmp,mode=control");
    builder.socket("console", sockets.console);
    builder.add("-serial", "chardev:console");
    builder.socket("agent", sockets.agent);
    builder.virtio("serial", "");
    builder.add("-device", "virtserialport,chardev=agent,name=attest.0");
    builder.virtio("rng", "");
    for (index, (card, wire)) in machine.cards.iter().zip(wires).enumerate() {
        cards::add(&mut builder, index, card, wire, pass);
    }
    for (index, disk) in machine.disks.into_iter().enumerate() {
        add_disk(&mut builder, index, disk, pass);
    }
    builder.args
}

fn mebibytes(bytes: u64) -> String {
    format!("{}M", bytes / (1024 * 1024))
}

/// What the board is to be told of it. A file needs no name: QEMU opens it anew, so that its place in it and its
/// mode are its own. Everywhere the memory has the same name, for a state is loaded by names.
fn add_ram(
    builder: &mut Builder,
    memory: u64,
    ram: Ram,
    pass: &mut dyn FnMut(OwnedFd) -> RawFd,
) -> &'static str {
    let mut file = |file, share: &str| {
        let fd = pass(file);
        (
            "file",
            format!(",mem-path=/proc/self/fd/{fd},share={share}"),
        )
    };
    let (kind, place) = match ram {
        Ram::Own => ("ram", String::new()),
        Ram::Shared(shared) => file(shared, "on"),
        Ram::Private(private) => file(private, "off"),
    };
    let size = mebibytes(memory);
    builder.add(
        "-object",
        format!("memory-backend-{kind},id=ram,size={size}{place}"),
    );
    ",memory-backend=ram"
}

fn add_processor(builder: &mut Builder, accelerator: Accelerator, vcpus: u32) {
    match accelerator {
        Accelerator::Tcg => {
            builder.add(
                "-accel",
                format!("tcg,thread=multi,tb-size={TRANSLATION_CACHE}"),
            );
            // The plainest model: each feature of `max` costs start-up and emulation time. But with
            // a timer that never stops, or Linux gives up precise ones and ticks every 4 ms.
            builder.add("-cpu", "qemu64,+arat");
            // Says `Triple fault` on stderr, which no event does; it costs nothing measurable.
            builder.add("-d", "cpu_reset");
        }
        Accelerator::Kvm => {
            builder.add("-accel", "kvm");
            builder.add("-cpu", "host");
        }
    }
    builder.add("-smp", vcpus.to_string());
}

fn board_options(board: MachineType, calibrates: bool) -> String {
    // With ACPI, for distributions' kernels find virtio-mmio devices in its tables only: those
    // of Debian are built without CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES. It also is what switches
    // the machine off. The old interrupt controller and timer are of no use with it, but for
    // calibration. Without a real-time clock a boot takes 2 s more.
    let timer = if calibrates { "on" } else { "off" };
    match board {
        MachineType::Microvm => format!(
            "microvm,acpi=on,pit={timer},pic=off,rtc=on,isa-serial=on,auto-kernel-cmdline=off,x-option-roms=off"
        ),
        MachineType::Q35 => "q35,usb=off,vmport=off,smbus=off,sata=off".to_owned(),
    }
}

/// `reboot=t`: by a triple fault, the one way that every board and accelerator knows. Without
/// `cryptomgr.notests` a distribution's kernel tries all its ciphers in a fifth of its boot. The
/// machine's own arguments come last, so they win.
fn kernel_arguments(fast: &[String], own: &[String]) -> String {
    let needed = [
        "console=ttyS0",
        "quiet",
        "panic=-1",
        "reboot=t",
        "cryptomgr.notests",
    ];
    let all = needed
        .into_iter()
        .chain(fast.iter().chain(own).map(String::as_str));
    all.collect::<Vec<_>>().join(" ")
}

fn add_disk(
    builder: &mut Builder,
    index: usize,
    disk: Disk,
    pass: &mut dyn FnMut(OwnedFd) -> RawFd,
) {
    let mut backing = String::new();
    for (depth, below) in disk.below.into_iter().enumerate().rev() {
        let node = format!("below{index}-{depth}");
        add_file(
            builder,
            &node,
            below,
            &format!("read-only=on{backing}"),
            pass,
        );
        backing = format!(",backing={node}");
    }
    let read_only = if disk.read_only { "on" } else { "off" };
    let options = format!("read-only={read_only}{backing}");
    let node = format!("disk{index}");
    add_file(builder, &node, disk.file, &options, pass);
    builder.virtio(
        "blk",
        &format!(",drive={node},serial={}", escaped(&disk.serial)),
    );
}

/// Not locked: images are shared. Flushes by the guest end in the host's memory, for no run
/// outlives the host.
fn add_file(
    builder: &mut Builder,
    node: &str,
    disk: DiskFile,
    options: &str,
    pass: &mut dyn FnMut(OwnedFd) -> RawFd,
) {
    let format = match disk.format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
    };
    let driver = match rustix::fs::fstat(&disk.file) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice => "host_device",
        _ => "file",
    };
    let fd = pass(disk.file);
    // The set has the number of the descriptor, which no other has.
    let set = fd;
    builder.add("-add-fd", format!("fd={fd},set={set}"));
    builder.add(
        "-blockdev",
        format!(
            "{format},node-name={node},{options},discard=unmap,cache.no-flush=on,file.driver={driver},\
             file.filename=/dev/fdset/{set},file.locking=off,file.aio=threads,file.cache.no-flush=on"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Card, QemuOptions, Reach};

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn lines(board: MachineType, accelerator: Accelerator, full: bool) -> String {
        let card = || Card {
            mac: [2, 0, 0, 0, 0, 0xab],
            rate: None,
        };
        let disk = |serial: &str, read_only, format| Disk {
            file: DiskFile {
                file: null(),
                format,
            },
            below: match format {
                DiskFormat::Raw => Vec::new(),
                DiskFormat::Qcow2 => [DiskFormat::Qcow2, DiskFormat::Raw]
                    .map(|format| DiskFile {
                        file: null(),
                        format,
                    })
                    .into(),
            },
            read_only,
            serial: serial.to_owned(),
            rate: None,
        };
        let machine = VirtualConfig {
            memory: 256 << 20,
            ram: if full { Ram::Private(null()) } else { Ram::Own },
            waits: full,
            vcpus: 2,
            kernel: "/k/vmlinux".into(),
            initrd: "/k/initrd".into(),
            kernel_arguments: vec!["loglevel=7".to_owned()],
            cards: if full {
                vec![card(), card()]
            } else {
                Vec::new()
            },
            disks: if full {
                vec![
                    disk("root", true, DiskFormat::Raw),
                    disk("data", false, DiskFormat::Qcow2),
                ]
            } else {
                Vec::new()
            },
            balloon: false,
            reach: Reach::Inherits(Vec::new()),
            qemu: QemuOptions {
                machine: board,
                ..QemuOptions::default()
            },
        };
        let wires = [Wire::Tap, Wire::Frames].map(|of| of(null()));
        let wires = wires.into_iter().take(machine.cards.len()).collect();
        let mut next = 5;
        let fast = ["norandmaps".to_owned()];
        let chosen = Chosen {
            accelerator,
            fast: &fast,
            calibrates: false,
        };
        let sockets = Sockets {
            qmp: 3,
            console: 4,
            agent: 5,
        };
        let args = build("web,1", machine, wires, chosen, sockets, &mut |_| {
            next += 1;
            next
        });
        let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        args.join(" ").replace(" -", "\n-")
    }

    #[test]
    fn microvm_under_tcg() {
        insta::assert_snapshot!(lines(MachineType::Microvm, Accelerator::Tcg, true), @"
        -no-user-config
        -nodefaults
        -display none
        -name guest=attest-web,,1
        -object memory-backend-file,id=ram,size=256M,mem-path=/proc/self/fd/6,share=off
        -machine microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,auto-kernel-cmdline=off,x-option-roms=off,memory-backend=ram
        -accel tcg,thread=multi,tb-size=64
        -cpu qemu64,+arat
        -d cpu_reset
        -smp 2
        -m 256M
        -incoming defer
        -S
        -action reboot=shutdown,shutdown=poweroff,panic=shutdown
        -kernel /k/vmlinux
        -initrd /k/initrd
        -append console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests norandmaps loglevel=7
        -chardev socket,id=qmp,fd=3
        -mon chardev=qmp,mode=control
        -chardev socket,id=console,fd=4
        -serial chardev:console
        -chardev socket,id=agent,fd=5
        -device virtio-serial-device
        -device virtserialport,chardev=agent,name=attest.0
        -device virtio-rng-device
        -netdev tap,id=net0,fd=7,vhost=off
        -device virtio-net-device,netdev=net0,mac=02:00:00:00:00:ab
        -netdev dgram,id=net1,local.type=fd,local.str=8
        -device virtio-net-device,netdev=net1,mac=02:00:00:00:00:ab
        -add-fd fd=9,set=9
        -blockdev raw,node-name=disk0,read-only=on,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/9,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -device virtio-blk-device,drive=disk0,serial=root
        -add-fd fd=10,set=10
        -blockdev raw,node-name=below1-1,read-only=on,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/10,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -add-fd fd=11,set=11
        -blockdev qcow2,node-name=below1-0,read-only=on,backing=below1-1,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/11,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -add-fd fd=12,set=12
        -blockdev qcow2,node-name=disk1,read-only=off,backing=below1-0,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/12,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -device virtio-blk-device,drive=disk1,serial=data
        ");
    }

    #[test]
    fn q35_under_tcg() {
        insta::assert_snapshot!(lines(MachineType::Q35, Accelerator::Tcg, true), @"
        -no-user-config
        -nodefaults
        -display none
        -name guest=attest-web,,1
        -object memory-backend-file,id=ram,size=256M,mem-path=/proc/self/fd/6,share=off
        -machine q35,usb=off,vmport=off,smbus=off,sata=off,memory-backend=ram
        -accel tcg,thread=multi,tb-size=64
        -cpu qemu64,+arat
        -d cpu_reset
        -smp 2
        -m 256M
        -incoming defer
        -S
        -action reboot=shutdown,shutdown=poweroff,panic=shutdown
        -kernel /k/vmlinux
        -initrd /k/initrd
        -append console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests norandmaps loglevel=7
        -chardev socket,id=qmp,fd=3
        -mon chardev=qmp,mode=control
        -chardev socket,id=console,fd=4
        -serial chardev:console
        -chardev socket,id=agent,fd=5
        -device virtio-serial-pci
        -device virtserialport,chardev=agent,name=attest.0
        -device virtio-rng-pci
        -netdev tap,id=net0,fd=7,vhost=off
        -device virtio-net-pci,netdev=net0,mac=02:00:00:00:00:ab,romfile=
        -netdev dgram,id=net1,local.type=fd,local.str=8
        -device virtio-net-pci,netdev=net1,mac=02:00:00:00:00:ab,romfile=
        -add-fd fd=9,set=9
        -blockdev raw,node-name=disk0,read-only=on,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/9,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -device virtio-blk-pci,drive=disk0,serial=root
        -add-fd fd=10,set=10
        -blockdev raw,node-name=below1-1,read-only=on,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/10,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -add-fd fd=11,set=11
        -blockdev qcow2,node-name=below1-0,read-only=on,backing=below1-1,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/11,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -add-fd fd=12,set=12
        -blockdev qcow2,node-name=disk1,read-only=off,backing=below1-0,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/12,file.locking=off,file.aio=threads,file.cache.no-flush=on
        -device virtio-blk-pci,drive=disk1,serial=data
        ");
    }

    #[test]
    fn microvm_under_kvm() {
        insta::assert_snapshot!(lines(MachineType::Microvm, Accelerator::Kvm, false), @"
        -no-user-config
        -nodefaults
        -display none
        -name guest=attest-web,,1
        -object memory-backend-ram,id=ram,size=256M
        -machine microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,auto-kernel-cmdline=off,x-option-roms=off,memory-backend=ram
        -accel kvm
        -cpu host
        -smp 2
        -m 256M
        -action reboot=shutdown,shutdown=poweroff,panic=shutdown
        -kernel /k/vmlinux
        -initrd /k/initrd
        -append console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests norandmaps loglevel=7
        -chardev socket,id=qmp,fd=3
        -mon chardev=qmp,mode=control
        -chardev socket,id=console,fd=4
        -serial chardev:console
        -chardev socket,id=agent,fd=5
        -device virtio-serial-device
        -device virtserialport,chardev=agent,name=attest.0
        -device virtio-rng-device
        ");
    }

    #[test]
    fn q35_under_kvm() {
        insta::assert_snapshot!(lines(MachineType::Q35, Accelerator::Kvm, false), @"
        -no-user-config
        -nodefaults
        -display none
        -name guest=attest-web,,1
        -object memory-backend-ram,id=ram,size=256M
        -machine q35,usb=off,vmport=off,smbus=off,sata=off,memory-backend=ram
        -accel kvm
        -cpu host
        -smp 2
        -m 256M
        -action reboot=shutdown,shutdown=poweroff,panic=shutdown
        -kernel /k/vmlinux
        -initrd /k/initrd
        -append console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests norandmaps loglevel=7
        -chardev socket,id=qmp,fd=3
        -mon chardev=qmp,mode=control
        -chardev socket,id=console,fd=4
        -serial chardev:console
        -chardev socket,id=agent,fd=5
        -device virtio-serial-pci
        -device virtserialport,chardev=agent,name=attest.0
        -device virtio-rng-pci
        ");
    }
}
