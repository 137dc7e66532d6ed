//! Network cards, on TAPs or on sockets of frames.

use std::os::fd::{OwnedFd, RawFd};

use super::QemuProgram;
use super::arguments::Builder;
use crate::{Card, MachineType, VmmError, Wire};

/// The first QEMU with `-netdev dgram`.
const TAKES_FRAMES: (u32, u32) = (7, 2);

/// Refuse ways that this QEMU does not know.
pub(super) fn check(machine: &str, wires: &[Wire], program: &QemuProgram) -> Result<(), VmmError> {
    let has_frames = wires.iter().any(|wire| matches!(wire, Wire::Frames(_)));
    // One that does not say its version may know them.
    let old = program
        .version
        .filter(|version| (version.major, version.minor) < TAKES_FRAMES);
    match old {
        Some(old) if has_frames => Err(VmmError::Unable {
            machine: machine.to_owned(),
            reason: format!(
                "without TAPs, its network cards need QEMU {}.{} or newer, and {} is {}.{}; install a newer QEMU, or \
                 give this user /dev/net/tun",
                TAKES_FRAMES.0,
                TAKES_FRAMES.1,
                program.path.display(),
                old.major,
                old.minor
            ),
        }),
        _ => Ok(()),
    }
}

pub(super) fn add(
    builder: &mut Builder,
    index: usize,
    card: &Card,
    wire: Wire,
    pass: &mut dyn FnMut(OwnedFd) -> RawFd,
) {
    let network = match wire {
        // QEMU asks the TAP itself whether it has headers for offloads.
        Wire::Tap(queue) => format!("tap,id=net{index},fd={},vhost=off", pass(queue)),
        Wire::Frames(socket) => {
            format!(
                "dgram,id=net{index},local.type=fd,local.str={}",
                pass(socket)
            )
        }
    };
    builder.add("-netdev", network);
    // Without a boot ROM on PCI: it costs time, and its file is in another package.
    let rom = match builder.board {
        MachineType::Q35 => ",romfile=",
        MachineType::Microvm => "",
    };
    let mac = card.mac();
    builder.virtio("net", &format!(",netdev=net{index},mac={mac}{rom}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::QemuVersion;

    #[test]
    fn frames_need_a_qemu_that_takes_them() {
        let program = |version: Option<(u32, u32)>| QemuProgram {
            path: "/qemu".into(),
            version: version.map(|(major, minor)| QemuVersion {
                major,
                minor,
                micro: 0,
            }),
        };
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        let (taps, frames) = ([Wire::Tap(null())], [Wire::Frames(null())]);
        for version in [None, Some((7, 2)), Some((10, 0))] {
            check("web", &frames, &program(version)).unwrap();
        }
        check("web", &taps, &program(Some((6, 2)))).unwrap();
        let refused = check("web", &frames, &program(Some((6, 2)))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "web: without TAPs, its network cards need QEMU 7.2 or newer, and /qemu is 6.2; install a newer QEMU, or \
             give this user /dev/net/tun"
        );
    }
}
