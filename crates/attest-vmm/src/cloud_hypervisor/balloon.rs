//! Memory that a guest gives back.

use super::calls::{Info, Resize};
use super::running::Machine;
use crate::{Balloon, BalloonStatistics, BoxFuture, VmmError};

impl Balloon for Machine {
    fn inflate(&self, bytes: u64) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            let resize = Resize {
                desired_balloon: bytes,
            };
            let control = &self.own.control;
            control
                .put("/vm.resize", &resize, "change the balloon")
                .await
        })
    }

    /// Cloud Hypervisor asks the guest for no statistics.
    fn statistics(&self) -> BoxFuture<'_, Result<BalloonStatistics, VmmError>> {
        Box::pin(async move {
            let control = &self.own.control;
            let info: Result<Info, _> = control.api.get("/vm.info").await;
            let info = info.map_err(control.refused("tell of the balloon"))?;
            Ok(BalloonStatistics {
                target: info.config.balloon.size,
                actual: self
                    .own
                    .memory
                    .bytes
                    .saturating_sub(info.memory_actual_size),
                ..BalloonStatistics::default()
            })
        })
    }
}
