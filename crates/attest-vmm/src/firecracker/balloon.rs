//! Memory that a guest gives back.

use serde::Deserialize;

use super::calls::BalloonUpdate;
use super::running::Machine;
use crate::{Balloon, BalloonStatistics, BoxFuture, VmmError};

const MIB: u64 = 1 << 20;

/// `GET /balloon/statistics`. What the guest does not tell is left out.
#[derive(Debug, Deserialize)]
struct Statistics {
    target_mib: u64,
    actual_mib: u64,
    swap_in: Option<u64>,
    swap_out: Option<u64>,
    major_faults: Option<u64>,
    minor_faults: Option<u64>,
    free_memory: Option<u64>,
    total_memory: Option<u64>,
    available_memory: Option<u64>,
    disk_caches: Option<u64>,
}

impl From<Statistics> for BalloonStatistics {
    fn from(said: Statistics) -> Self {
        Self {
            target: said.target_mib * MIB,
            actual: said.actual_mib * MIB,
            free: said.free_memory,
            available: said.available_memory,
            total: said.total_memory,
            disk_caches: said.disk_caches,
            swap_in: said.swap_in,
            swap_out: said.swap_out,
            major_faults: said.major_faults,
            minor_faults: said.minor_faults,
        }
    }
}

impl Balloon for Machine {
    fn inflate(&self, bytes: u64) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            let amount_mib = bytes / MIB;
            let told = self
                .own
                .control
                .api
                .patch("/balloon", &BalloonUpdate { amount_mib })
                .await;
            told.map_err(self.own.control.refused("change the balloon"))
        })
    }

    fn statistics(&self) -> BoxFuture<'_, Result<BalloonStatistics, VmmError>> {
        Box::pin(async move {
            let said: Result<Statistics, _> = self.own.control.api.get("/balloon/statistics").await;
            let said = said.map_err(self.own.control.refused("tell of the balloon"))?;
            Ok(said.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_does_not_tell_is_none() {
        let said = r#"{"target_pages":512,"actual_pages":256,"target_mib":2,"actual_mib":1,"free_memory":4096}"#;
        let said: Statistics = serde_json::from_str(said).unwrap();
        let expected = BalloonStatistics {
            target: 2 << 20,
            actual: 1 << 20,
            free: Some(4096),
            ..BalloonStatistics::default()
        };
        assert_eq!(BalloonStatistics::from(said), expected);
    }
}
