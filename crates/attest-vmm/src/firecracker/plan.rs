//! What Firecracker is told of a machine: a pure function of it.

use attest_lab::LastingTap;

use super::calls::{
    BootSource, CacheType, Drive, MachineConfiguration, NetworkInterface, NetworkOverride,
};
use crate::microvm::given::{INITRD, KERNEL, KERNEL_ARGUMENTS, card_name, disk_name};
use crate::{Card, Disk, VirtualConfig};

/// Names in every place of a Firecracker.
pub(super) const API: &str = "api";
pub(super) const LOG: &str = "log";
/// The file that memory is saved in.
pub(super) const SAVED: &str = "saved";
/// Processors and devices.
pub(super) const DEVICES: &str = "devices";

const MIB: u64 = 1 << 20;
/// Bytes of the kernel's command line that [`boot`] adds to the machine's own, with the names of four disks.
pub(super) const OWN_ARGUMENTS: usize = 256;

pub(super) fn machine(machine: &VirtualConfig) -> MachineConfiguration {
    MachineConfiguration {
        vcpu_count: machine.vcpus,
        mem_size_mib: machine.memory / MIB,
    }
}

/// `reboot=k`: by the keyboard's controller, which ends Firecracker. The kernel is not to look for a keyboard there,
/// which takes it half a second. Disks have no serial numbers of ours, so that the agent is told their names in order.
pub(super) fn boot(machine: &VirtualConfig, boot_timer: u64, pci: bool) -> BootSource {
    let keyboard = ["i8042.noaux", "i8042.nomux", "i8042.nopnp", "i8042.dumbkbd"];
    let own = KERNEL_ARGUMENTS.into_iter().chain(keyboard);
    let mut arguments: Vec<String> = own.map(str::to_owned).collect();
    if !pci {
        arguments.push("pci=off".to_owned());
    }
    arguments.push(format!("attest.vsock={}", attest_protocol::VSOCK_PORT));
    arguments.push(format!("attest.boot-timer={boot_timer:#x}"));
    let disks: Vec<&str> = machine.disks.iter().map(|disk| &*disk.serial).collect();
    if !disks.is_empty() {
        arguments.push(format!("attest.disks={}", disks.join(",")));
    }
    arguments.extend_from_slice(&machine.kernel_arguments);
    BootSource {
        kernel_image_path: KERNEL,
        initrd_path: INITRD,
        boot_args: arguments.join(" "),
    }
}

pub(super) fn drive(index: usize, disk: &Disk) -> Drive {
    Drive {
        id: disk_name(index),
        path_on_host: disk_name(index),
        is_root_device: false,
        is_read_only: disk.read_only,
        cache_type: CacheType::Unsafe,
        rate_limiter: disk.rate.map(Into::into),
    }
}

pub(super) fn card(index: usize, card: &Card, tap: &LastingTap) -> NetworkInterface {
    NetworkInterface {
        iface_id: card_name(index),
        host_dev_name: tap.name().to_owned(),
        guest_mac: card.mac(),
        rx_rate_limiter: card.rate.map(Into::into),
        tx_rate_limiter: card.rate.map(Into::into),
    }
}

/// The TAPs of this lab in place of those of the one that was saved.
pub(super) fn overrides(taps: &[LastingTap]) -> Vec<NetworkOverride> {
    let each = |(index, tap): (usize, &LastingTap)| NetworkOverride {
        iface_id: card_name(index),
        host_dev_name: tap.name().to_owned(),
    };
    taps.iter().enumerate().map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microvm::example::full;

    #[test]
    fn what_firecracker_is_told() {
        let full = full();
        let tap = LastingTap::existing("lan-0");
        let told = serde_json::json!([
            machine(&full),
            boot(&full, 0xc000_0000, false),
            drive(0, &full.disks[0]),
            drive(1, &full.disks[1]),
            card(0, &full.cards[0], &tap),
            overrides(&[tap]),
        ]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&told).unwrap());
    }

    #[test]
    fn what_is_added_to_the_command_line_is_no_more_than_was_planned_with() {
        let full = full();
        let told = boot(&full, 0xc000_0000, false).boot_args;
        let own: usize = full
            .kernel_arguments
            .iter()
            .map(|word| word.len() + 1)
            .sum();
        assert!(told.len() - own <= OWN_ARGUMENTS, "{}", told.len() - own);
    }
}
