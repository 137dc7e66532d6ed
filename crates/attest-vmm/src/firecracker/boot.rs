//! What Firecracker is told of a machine that boots.

use attest_lab::LastingTap;

use super::calls::{Action, ActionType, BalloonDevice, BootSource, Entropy, Vsock};
use super::plan;
use crate::microvm::agent::{GUEST_CID, SOCKET};
use crate::microvm::control::Control;
use crate::{VirtualConfig, VmmError};

/// Seconds between two looks at a guest's memory, where it has a balloon.
const STATISTICS_EVERY: u16 = 1;

/// Tell it of the machine, and let the machine run.
pub(super) async fn boot(
    control: &Control,
    machine: &VirtualConfig,
    taps: &[LastingTap],
    boot: BootSource,
) -> Result<(), VmmError> {
    control
        .put("/machine-config", &plan::machine(machine), "take its size")
        .await?;
    let kernel = "take its kernel (an ELF, or since 1.17 a bzImage)";
    control.put("/boot-source", &boot, kernel).await?;
    for (index, disk) in machine.disks.iter().enumerate() {
        let drive = plan::drive(index, disk);
        let path = format!("/drives/{}", drive.id);
        let what = format!("take its disk `{}`", disk.serial);
        control.put(&path, &drive, what).await?;
    }
    for (index, (card, tap)) in machine.cards.iter().zip(taps).enumerate() {
        let card = plan::card(index, card, tap);
        let path = format!("/network-interfaces/{}", card.iface_id);
        let what = format!("take its card {index}, over the TAP {}", tap.name());
        control.put(&path, &card, what).await?;
    }
    let vsock = Vsock {
        guest_cid: GUEST_CID,
        uds_path: SOCKET,
    };
    control.put("/vsock", &vsock, "make its vsock").await?;
    control
        .put("/entropy", &Entropy {}, "make its source of randomness")
        .await?;
    if machine.balloon {
        let balloon = BalloonDevice {
            amount_mib: 0,
            deflate_on_oom: true,
            stats_polling_interval_s: STATISTICS_EVERY,
        };
        control
            .put("/balloon", &balloon, "make its balloon")
            .await?;
    }
    let start = Action {
        action_type: ActionType::InstanceStart,
    };
    control.put("/actions", &start, "start the guest").await
}
