//! Taking memory back from a machine while it runs.

use std::sync::Arc;

use attest_vmm::{Ability, Balloon, BalloonStatistics, Running};

use crate::error::{Error, Result};
use crate::machine::Machine;

impl Machine {
    /// Let its balloon take so many bytes of its memory, rounded down to whole MiB; 0 gives all back. Returns when
    /// the guest has been told: how far it is, [`Machine::balloon_statistics`] says.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the backend has no balloons, [`Error::NoBalloon`] where the machine has none.
    pub async fn balloon(&self, bytes: u64) -> Result<()> {
        let running = self.with_balloon().await?;
        Ok(self.balloon_of(&*running)?.inflate(bytes).await?)
    }

    /// How large its balloon is, and what the guest says of its memory.
    ///
    /// # Errors
    /// As [`Machine::balloon`].
    pub async fn balloon_statistics(&self) -> Result<BalloonStatistics> {
        let running = self.with_balloon().await?;
        Ok(self.balloon_of(&*running)?.statistics().await?)
    }

    async fn with_balloon(&self) -> Result<Arc<dyn Running>> {
        self.needs(Ability::Balloon)?;
        if !self.plan().balloon {
            return Err(Error::NoBalloon {
                machine: self.name().to_owned(),
            });
        }
        self.running().await
    }

    fn balloon_of<'a>(&self, running: &'a dyn Running) -> Result<&'a dyn Balloon> {
        running.balloon().ok_or_else(|| self.off())
    }
}
