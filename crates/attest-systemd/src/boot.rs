//! How long the boot took, and whether it went well.

use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::manager::{Link, Manager};
use crate::properties::Properties;
use crate::signal::{Signal, UNIT};
use crate::state::SystemState;
use crate::units::UnitEntry;
use crate::value::Value;

/// Types of units that take time to start. Slices, scopes and targets take none of their own,
/// devices and sockets wait for others.
const TIMED: [&str; 3] = ["*.service", "*.mount", "*.swap"];
/// Units that are asked for at once. More would hold up whoever has something to ask meanwhile.
const AT_ONCE: usize = 2;

/// Where the time of a boot went. All in microseconds, of the guest's monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootBreakdown {
    /// Of the firmware, where there is one that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_us: Option<u64>,
    /// Of the boot loader, where there is one that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader_us: Option<u64>,
    /// From the kernel's first instruction to the first program. Not in containers and not of
    /// users' managers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_us: Option<u64>,
    /// From the first program of the initrd to that of the root, where there is an initrd with
    /// systemd in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_us: Option<u64>,
    /// From the manager's start to the first instant without a job; nothing before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userspace_us: Option<u64>,
    /// When that was, since the kernel started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_us: Option<u64>,
    /// The units that took longest to start, the slowest first.
    pub slowest: Vec<UnitTime>,
}

/// How long a unit took to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitTime {
    /// Its name.
    pub unit: String,
    /// When it began, since the kernel started.
    pub began_us: u64,
    /// From then until it was active.
    pub took_us: u64,
}

/// How a start-up ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// [`SystemState::Running`] when all is well, [`SystemState::Degraded`] when units failed;
    /// or the system went into maintenance, or down.
    pub state: SystemState,
    /// The units that failed.
    pub failed: Vec<UnitEntry>,
}

impl Manager {
    /// Wait until the start-up is finished: until there is an instant without a job.
    ///
    /// A job that never ends keeps it from that; [`Manager::list_jobs`] names it.
    pub async fn wait_for_startup(&self) -> Result<Startup, Error> {
        let mut losses = 0;
        loop {
            let waited = async { self.link().await?.startup().await }.await;
            match waited {
                Err(error) if error.is_lost() && self.reconnects() && losses < 8 => losses += 1,
                waited => return waited,
            }
        }
    }

    /// Where the time of the boot went, with this many of the slowest units: two calls
    /// for each unit that is active, a few at once.
    pub async fn boot_breakdown(&self, slowest: usize) -> Result<BootBreakdown, Error> {
        let link = self.link().await?;
        let (manager, units) = tokio::try_join!(self.properties(), async {
            link.list_units(&["active"], &TIMED).await
        },)?;
        let mut breakdown = of_manager(&manager);
        let times = units.1.into_iter().map(|entry| time_of(&link, entry.unit));
        let times = futures_util::stream::iter(times).buffer_unordered(AT_ONCE);
        let times: Vec<Option<UnitTime>> = times.try_collect().await?;
        let mut times: Vec<UnitTime> = times.into_iter().flatten().collect();
        times.sort_by(|a, b| b.took_us.cmp(&a.took_us).then_with(|| a.unit.cmp(&b.unit)));
        times.truncate(slowest);
        breakdown.slowest = times;
        Ok(breakdown)
    }
}

impl Link {
    async fn startup(&self) -> Result<Startup, Error> {
        let mut signals = self.connection.signals()?;
        loop {
            let state = self.property(
                crate::manager::OBJECT,
                crate::signal::MANAGER,
                "SystemState",
            );
            let state = SystemState::of(state.await?.as_str().unwrap_or_default());
            if !matches!(state, SystemState::Initializing | SystemState::Starting) {
                let (_, failed) = self.list_units(&["failed"], &[]).await?;
                return Ok(Startup { state, failed });
            }
            while !matches!(
                signals.next(&self.connection).await?,
                None | Some((_, Signal::StartupFinished))
            ) {}
        }
    }
}

/// How long a unit took, if it took any time.
async fn time_of(link: &Link, unit: String) -> Result<Option<UnitTime>, Error> {
    let path = crate::name::object_path(&unit);
    let (began, active) = tokio::try_join!(
        link.property(&path, UNIT, "InactiveExitTimestampMonotonic"),
        link.property(&path, UNIT, "ActiveEnterTimestampMonotonic"),
    )?;
    let (began_us, active_us) = (number(&began), number(&active));
    let took_us = active_us.saturating_sub(began_us);
    Ok((took_us > 0).then_some(UnitTime {
        unit,
        began_us,
        took_us,
    }))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn of_manager(properties: &Properties) -> BootBreakdown {
    let time = |name: &str| {
        let us = properties.u64(&format!("{name}TimestampMonotonic"));
        (us != 0).then_some(us)
    };
    let (firmware, loader) = (time("Firmware"), time("Loader"));
    let (initrd, userspace, finish) = (time("InitRD"), time("Userspace"), time("Finish"));
    // The kernel's own monotonic time is 0. In a container there is no kernel that booted.
    let booted = properties.u64("KernelTimestamp") != 0;
    BootBreakdown {
        // These two count backwards from the kernel's start.
        firmware_us: firmware.and_then(|us| us.checked_sub(loader.unwrap_or_default())),
        loader_us: loader,
        kernel_us: initrd.or(userspace).filter(|_| booted),
        initrd_us: initrd.and_then(|initrd| userspace?.checked_sub(initrd)),
        userspace_us: finish.and_then(|finish| finish.checked_sub(userspace?)),
        finished_us: finish,
        slowest: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(times: &[(&str, u64)]) -> BootBreakdown {
        let pairs = times
            .iter()
            .map(|(name, us)| ((*name).into(), Value::U64(*us)));
        of_manager(&Properties::new("manager", pairs.collect()).unwrap())
    }

    #[test]
    fn a_machine_with_firmware_and_initrd_has_all_parts() {
        let times = manager(&[
            ("FirmwareTimestampMonotonic", 5_000),
            ("LoaderTimestampMonotonic", 2_000),
            ("KernelTimestamp", 1),
            ("InitRDTimestampMonotonic", 300),
            ("UserspaceTimestampMonotonic", 1_000),
            ("FinishTimestampMonotonic", 4_000),
        ]);
        assert_eq!(times.firmware_us, Some(3_000));
        assert_eq!(times.loader_us, Some(2_000));
        assert_eq!(times.kernel_us, Some(300));
        assert_eq!(times.initrd_us, Some(700));
        assert_eq!(times.userspace_us, Some(3_000));
        assert_eq!(times.finished_us, Some(4_000));
    }

    #[test]
    fn what_there_is_not_is_left_out() {
        let times = manager(&[("UserspaceTimestampMonotonic", 12_000)]);
        assert_eq!(times, BootBreakdown::default());
        let text = serde_json::to_string(&times).unwrap();
        assert_eq!(text, r#"{"slowest":[]}"#);
    }
}
