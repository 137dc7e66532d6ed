//! The API of one machine, and how it is told of that.

use attest_lab::LastingTap;
use serde::Serialize;
use tokio::net::UnixStream;

use super::calls::{self, Action, ActionType, BalloonDevice, BootSource, Entropy, Vsock};
use super::{NAME, plan};
use crate::microvm::agent::SOCKET;
use crate::microvm::api::{Api, ApiError};
use crate::{VirtualConfig, VmmError};

/// Seconds between two looks at a guest's memory, where it has a balloon.
const STATISTICS_EVERY: u16 = 1;

/// The one API of a machine.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) name: String,
    pub(super) api: Api,
}

/// A call failed.
pub(super) fn refused(machine: &str, what: impl Into<String>) -> impl FnOnce(ApiError) -> VmmError {
    let (machine, what) = (machine.to_owned(), what.into());
    move |source| VmmError::Api {
        machine,
        vmm: NAME,
        what,
        source,
    }
}

impl Control {
    /// Tell it one thing; `what` is that, for the error.
    async fn put(
        &self,
        path: &str,
        body: &impl Serialize,
        what: impl Into<String>,
    ) -> Result<(), VmmError> {
        let put = self.api.put(path, body).await;
        put.map_err(refused(&self.name, what))
    }

    /// On a connected socket.
    pub(super) async fn new(name: &str, socket: UnixStream) -> Result<Self, VmmError> {
        let api = Api::new(socket, "", calls::words).await;
        Ok(Self {
            name: name.to_owned(),
            api: api.map_err(refused(name, "open its API"))?,
        })
    }

    /// Tell it of the machine, and let the machine run.
    pub(super) async fn boot(
        &self,
        machine: &VirtualConfig,
        taps: &[LastingTap],
        boot: BootSource,
    ) -> Result<(), VmmError> {
        self.put("/machine-config", &plan::machine(machine), "take its size")
            .await?;
        let kernel = "take its kernel (an ELF, or since 1.17 a bzImage)";
        self.put("/boot-source", &boot, kernel).await?;
        for (index, disk) in machine.disks.iter().enumerate() {
            let drive = plan::drive(index, disk);
            let path = format!("/drives/{}", drive.id);
            let what = format!("take its disk `{}`", disk.serial);
            self.put(&path, &drive, what).await?;
        }
        for (index, (card, tap)) in machine.cards.iter().zip(taps).enumerate() {
            let card = plan::card(index, card, tap);
            let path = format!("/network-interfaces/{}", card.iface_id);
            let what = format!("take its card {index}, over the TAP {}", tap.name());
            self.put(&path, &card, what).await?;
        }
        let vsock = Vsock {
            guest_cid: plan::GUEST_CID,
            uds_path: SOCKET,
        };
        self.put("/vsock", &vsock, "make its vsock").await?;
        self.put("/entropy", &Entropy {}, "make its source of randomness")
            .await?;
        if machine.balloon {
            let balloon = BalloonDevice {
                amount_mib: 0,
                deflate_on_oom: true,
                stats_polling_interval_s: STATISTICS_EVERY,
            };
            self.put("/balloon", &balloon, "make its balloon").await?;
        }
        let start = Action {
            action_type: ActionType::InstanceStart,
        };
        self.put("/actions", &start, "start the guest").await
    }
}
