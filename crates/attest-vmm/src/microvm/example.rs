//! A machine for the tests of plans.

use crate::{Card, Disk, DiskFile, DiskFormat, QemuOptions, Ram, Rate, Reach, VirtualConfig};

pub(crate) const RATE: Rate = Rate {
    bytes_per_second: Some(1 << 20),
    operations_per_second: Some(1000),
};

/// With a card, and with two disks.
pub(crate) fn full() -> VirtualConfig {
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    let disk = |serial: &str, read_only| Disk {
        file: DiskFile {
            file: null(),
            format: DiskFormat::Raw,
        },
        below: Vec::new(),
        read_only,
        serial: serial.to_owned(),
        rate: None,
    };
    VirtualConfig {
        memory: 256 << 20,
        ram: Ram::Own,
        waits: false,
        vcpus: 2,
        kernel: "/k/vmlinux".into(),
        initrd: "/k/initrd".into(),
        kernel_arguments: vec!["loglevel=7".to_owned()],
        cards: vec![Card {
            mac: [2, 0, 0, 0, 0, 0xab],
            rate: Some(RATE),
        }],
        disks: vec![disk("root", true), disk("disk0", false)],
        balloon: false,
        reach: Reach::Inherits(Vec::new()),
        qemu: QemuOptions::default(),
    }
}
