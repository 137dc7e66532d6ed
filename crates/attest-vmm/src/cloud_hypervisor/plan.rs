//! What Cloud Hypervisor is told of a machine: a pure function of it.

use attest_lab::LastingTap;

use super::calls::{
    BalloonConfig, Confinement, Cpus, DiskConfig, ImageType, Memory, Mode, Net, Payload, Rng, Rule,
    Terminal, VmConfig, Vsock, Zone,
};
use crate::microvm::agent::{GUEST_CID, SOCKET};
use crate::microvm::given::{INITRD, KERNEL, KERNEL_ARGUMENTS, card_name, disk_name};
use crate::{Card, Disk, VirtualConfig};

/// Bytes of the kernel's command line that are added to the machine's own.
pub(super) const OWN_ARGUMENTS: usize = 128;
/// Where the kernel tells of network interfaces, TAPs among them.
pub(super) const INTERFACES: &str = "/sys/devices/virtual/net";

/// The whole machine.
pub(super) fn machine(
    machine: &VirtualConfig,
    taps: &[LastingTap],
    memory: Zone,
    confinement: Confinement,
) -> VmConfig {
    let cards = machine.cards.iter().zip(taps).enumerate();
    VmConfig {
        cpus: Cpus {
            boot_vcpus: machine.vcpus,
            max_vcpus: machine.vcpus,
        },
        memory: Memory {
            size: 0,
            zones: [memory],
        },
        payload: Payload {
            kernel: KERNEL,
            initramfs: INITRD,
            cmdline: command_line(machine),
        },
        disks: machine.disks.iter().enumerate().map(disk).collect(),
        net: cards
            .map(|(index, (card, tap))| net(index, card, tap))
            .collect(),
        rng: Rng {
            src: "/dev/urandom",
        },
        balloon: machine.balloon.then_some(BalloonConfig {
            size: 0,
            deflate_on_oom: true,
            free_page_reporting: true,
        }),
        serial: Terminal { mode: Mode::Tty },
        console: Terminal { mode: Mode::Off },
        vsock: Vsock {
            cid: GUEST_CID,
            socket: SOCKET,
        },
        confinement,
    }
}

/// `reboot=k`: by the keyboard's controller, which resets the board at once.
fn command_line(machine: &VirtualConfig) -> String {
    let mut arguments: Vec<String> = KERNEL_ARGUMENTS.map(str::to_owned).into();
    arguments.push(format!("attest.vsock={}", attest_protocol::VSOCK_PORT));
    arguments.extend_from_slice(&machine.kernel_arguments);
    arguments.join(" ")
}

fn disk((index, disk): (usize, &Disk)) -> DiskConfig {
    DiskConfig {
        id: disk_name(index),
        path: disk_name(index),
        readonly: disk.read_only,
        image_type: ImageType::Raw,
        serial: disk.serial.clone(),
        rate_limiter_config: disk.rate.map(Into::into),
    }
}

fn net(index: usize, card: &Card, tap: &LastingTap) -> Net {
    Net {
        id: card_name(index),
        tap: tap.name().to_owned(),
        mac: card.mac(),
        rate_limiter_config: card.rate.map(Into::into),
    }
}

/// Beside its own files, which it allows itself: its place, for what it saves and loads; and what the kernel tells of a
/// TAP, where that is to be seen.
pub(super) fn confinement(with_landlock: bool, sees_interfaces: bool) -> Confinement {
    if !with_landlock {
        return Confinement {
            landlock_enable: false,
            landlock_rules: Vec::new(),
        };
    }
    let place = Rule {
        path: ".",
        access: "rw",
    };
    let interfaces = sees_interfaces.then_some(Rule {
        path: INTERFACES,
        access: "r",
    });
    Confinement {
        landlock_enable: true,
        landlock_rules: std::iter::once(place).chain(interfaces).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ram;
    use crate::cloud_hypervisor::memory::Memory as MachineMemory;
    use crate::microvm::example;

    fn full() -> VirtualConfig {
        let mut full = example::full();
        full.disks[1].rate = Some(example::RATE);
        full.balloon = true;
        full
    }

    #[test]
    fn what_cloud_hypervisor_is_told() {
        let taps = [LastingTap::existing("lan-0")];
        let file = tempfile::tempfile().unwrap().into();
        let zone = MachineMemory::new(Ram::Shared(file), 256 << 20).zone();
        let told = machine(&full(), &taps, zone, confinement(true, true));
        insta::assert_snapshot!(serde_json::to_string_pretty(&told).unwrap());
    }

    #[test]
    fn a_machine_without_anything_has_only_what_all_have() {
        let mut bare = full();
        (bare.cards, bare.disks, bare.balloon) = (Vec::new(), Vec::new(), false);
        let zone = MachineMemory::new(Ram::Own, 256 << 20).zone();
        let told = machine(&bare, &[], zone, confinement(false, false));
        insta::assert_snapshot!(serde_json::to_string_pretty(&told).unwrap());
    }

    #[test]
    fn what_is_added_to_the_command_line_is_no_more_than_was_planned_with() {
        let mut own = full();
        own.kernel_arguments.clear();
        assert!(command_line(&own).len() <= OWN_ARGUMENTS);
    }
}
