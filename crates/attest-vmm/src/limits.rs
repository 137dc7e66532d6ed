//! How much of everything a backend has room for, and whether a machine fits.

use crate::{VmmError, Wanted};

/// Those that every machine has beside its cards and disks.
const FIXED: [&str; 2] = ["vsock", "entropy"];

/// The most that a backend gives one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// As in the manifest.
    pub(crate) backend: &'static str,
    /// Virtio devices, of all kinds together.
    pub(crate) devices: usize,
    /// What these devices are on, as `MMIO`.
    pub(crate) over: &'static str,
    /// Virtual CPUs.
    pub(crate) vcpus: u32,
    /// Bytes of the kernel's whole command line.
    pub(crate) command_line: usize,
    /// Bytes of it that the VMM adds for each device.
    pub(crate) command_line_of_device: usize,
    /// Bytes of it that the backend adds to what it is given.
    pub(crate) command_line_of_backend: usize,
}

/// Refuse a machine that would have more than there is room for.
///
/// # Errors
/// [`VmmError::Limit`], with the limit's name.
pub(crate) fn check(limits: &Limits, wanted: &Wanted) -> Result<(), VmmError> {
    let refused = |what: String, limit, wanted_of_it, help| VmmError::Limit {
        machine: wanted.machine.clone(),
        backend: limits.backend,
        what,
        wanted: wanted_of_it,
        limit,
        help,
    };
    if wanted.vcpus > limits.vcpus {
        return Err(refused(
            "virtual CPUs".to_owned(),
            limits.vcpus as usize,
            wanted.vcpus.to_string(),
            "give it fewer `vcpus`, or choose the backend `qemu`",
        ));
    }
    let devices = devices(wanted);
    let count: usize = devices.iter().map(|(count, _)| count).sum();
    if count > limits.devices {
        return Err(refused(
            format!("virtio devices over {}", limits.over),
            limits.devices,
            format!("{count} ({})", listed(&devices)),
            "give it fewer `networks` or `disks`, or choose the backend `qemu`",
        ));
    }
    let parts = [
        (wanted.kernel_arguments, "for this machine"),
        (count * limits.command_line_of_device, "for its devices"),
        (limits.command_line_of_backend, "for the backend"),
    ];
    let bytes: usize = parts.iter().map(|(bytes, _)| bytes).sum();
    if bytes > limits.command_line {
        return Err(refused(
            "bytes of a kernel's command line".to_owned(),
            limits.command_line,
            format!("{bytes} ({})", listed(&parts)),
            "give it shorter `kernel-arguments`, or choose the backend `qemu`",
        ));
    }
    Ok(())
}

/// Refuse a machine with more memory than the host has, in bytes; all is well where the host does not tell.
///
/// # Errors
/// [`VmmError::Memory`].
pub fn check_memory(wanted: &Wanted, total: Option<u64>) -> Result<(), VmmError> {
    match total {
        Some(total) if wanted.memory > total => Err(VmmError::Memory {
            machine: wanted.machine.clone(),
            wanted: wanted.memory,
            total,
        }),
        _ => Ok(()),
    }
}

/// How many of each kind.
fn devices(wanted: &Wanted) -> Vec<(usize, &'static str)> {
    let fixed = FIXED.map(|kind| (1, kind));
    let balloon = wanted.balloon.then_some((1, "balloon"));
    let plural = |count, one, more| (count, if count == 1 { one } else { more });
    let own = [
        plural(wanted.cards, "card", "cards"),
        plural(wanted.disks, "disk", "disks"),
    ];
    fixed.into_iter().chain(balloon).chain(own).collect()
}

fn listed(parts: &[(usize, &str)]) -> String {
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        backend: "firecracker",
        devices: 17,
        over: "MMIO",
        vcpus: 32,
        command_line: 2048,
        command_line_of_device: 36,
        command_line_of_backend: 48,
    };

    fn wanted(cards: usize, disks: usize) -> Wanted {
        Wanted {
            machine: "web".to_owned(),
            vcpus: 1,
            cards,
            disks,
            ..Wanted::default()
        }
    }

    fn refusal(wanted: &Wanted) -> String {
        check(&LIMITS, wanted).unwrap_err().to_string()
    }

    #[test]
    fn devices_are_counted_with_those_that_every_machine_has() {
        assert!(check(&LIMITS, &wanted(11, 4)).is_ok());
        assert_eq!(
            refusal(&wanted(15, 4)),
            "web: firecracker has at most 17 virtio devices over MMIO, and this machine would have 21 (1 vsock, \
             1 entropy, 15 cards, 4 disks): give it fewer `networks` or `disks`, or choose the backend `qemu`"
        );
        let with_balloon = Wanted {
            balloon: true,
            ..wanted(14, 1)
        };
        let refusal = refusal(&with_balloon);
        assert!(
            refusal.contains("18 (1 vsock, 1 entropy, 1 balloon, 14 cards, 1 disk)"),
            "{refusal}"
        );
    }

    #[test]
    fn processors_are_limited() {
        let many = |vcpus| Wanted {
            vcpus,
            ..wanted(0, 0)
        };
        assert!(check(&LIMITS, &many(32)).is_ok());
        assert_eq!(
            refusal(&many(33)),
            "web: firecracker has at most 32 virtual CPUs, and this machine would have 33: give it fewer `vcpus`, \
             or choose the backend `qemu`"
        );
    }

    #[test]
    fn a_command_line_holds_more_than_what_is_asked_for() {
        let long = |kernel_arguments| Wanted {
            kernel_arguments,
            ..wanted(1, 1)
        };
        let rest = 2048 - 4 * 36 - 48;
        assert!(check(&LIMITS, &long(rest)).is_ok());
        let refusal = refusal(&long(rest + 1));
        assert!(
            refusal.contains(
                "2048 bytes of a kernel's command line, and this machine would have 2049 (1857 for"
            ),
            "{refusal}"
        );
    }

    #[test]
    fn memory_is_limited_by_the_host() {
        let large = Wanted {
            memory: 2 << 30,
            ..wanted(0, 0)
        };
        assert!(check_memory(&large, None).is_ok());
        assert!(check_memory(&large, Some(2 << 30)).is_ok());
        let error = check_memory(&large, Some(1 << 30)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "web: 2048 MiB of memory are more than this host has: 1024 MiB (MemTotal of /proc/meminfo); give it \
             less `memory`"
        );
    }
}
