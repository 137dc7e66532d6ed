//! The frequency of the host's time stamp counter, which a guest under TCG sees as its own.
//!
//! A guest finds it by counting against the board's timer, in a loop of port reads. Under TCG on
//! a busy host that fails, and a kernel on `microvm` then has no source of ticks at all and
//! waits for ever, before its first word on the console. So it is told.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What was measured, for all processes until the host is started anew: two measurements may differ by a little, and
/// what was saved under one frequency does not go on under another.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memo {
    /// Of the host's kernel (`/proc/sys/kernel/random/boot_id`).
    boot_id: String,
    khz: u64,
}

/// The file with it, among what is found out about QEMU.
const MEMO: &str = "tsc.json";

fn boot_id() -> String {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot_id.unwrap_or_default().trim().to_owned()
}

/// What was measured since the host was started.
pub(super) fn remembered(directory: &Path) -> Option<u64> {
    let memo = fs::read(directory.join(MEMO)).ok()?;
    let memo: Memo = serde_json::from_slice(&memo).ok()?;
    (memo.boot_id == boot_id()).then_some(memo.khz)
}

/// For the next ones. Who comes at the same time and has measured something else wins, for all that come later.
pub(super) fn remember(directory: &Path, khz: u64) {
    let memo = Memo {
        boot_id: boot_id(),
        khz,
    };
    if let Ok(memo) = serde_json::to_vec(&memo) {
        // Without a memo it is only measured again.
        let _ = fs::write(directory.join(MEMO), memo);
    }
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    at: Instant,
    ticks: u64,
}

/// Shortest time between two readings: a reading is good to about 100 ns, so the frequency is to
/// 1 in 20,000.
const APART: Duration = Duration::from_millis(2);

/// Frequencies are rounded to this, so that the same host gives the same command line each
/// time. At 2 GHz it is 1 in 20,000, as exact as the readings.
const STEP_KHZ: u64 = 100;

impl Reading {
    /// Now. `None` on processors whose counter QEMU does not hand on.
    pub(super) fn take() -> Option<Self> {
        // The narrowest of a few brackets is the one that was not interrupted.
        let brackets = (0..8).map(|_| {
            let before = Instant::now();
            let ticks = counter::read();
            let width = before.elapsed();
            (
                width,
                ticks.map(|ticks| Self {
                    at: before + width / 2,
                    ticks,
                }),
            )
        });
        brackets
            .min_by_key(|(width, _)| *width)
            .and_then(|(_, reading)| reading)
    }

    /// In kHz, from this reading to now. Waits when this reading is too young.
    pub(super) async fn frequency(self) -> Option<u64> {
        tokio::time::sleep(APART.saturating_sub(self.at.elapsed())).await;
        self.frequency_at(Self::take()?)
    }

    fn frequency_at(self, later: Self) -> Option<u64> {
        let nanoseconds = later.at.duration_since(self.at).as_nanos();
        let ticks = u128::from(later.ticks.checked_sub(self.ticks)?);
        let khz = u64::try_from(ticks * 1_000_000 / nanoseconds.max(1)).ok()?;
        let rounded = (khz + STEP_KHZ / 2) / STEP_KHZ * STEP_KHZ;
        Some(rounded).filter(|khz| *khz > 0)
    }
}

#[cfg(target_arch = "x86_64")]
mod counter {
    #![expect(unsafe_code, reason = "the time stamp counter has no safe reader")]

    #[expect(clippy::unnecessary_wraps, reason = "other processors have none")]
    pub(super) fn read() -> Option<u64> {
        // SAFETY: every processor of this architecture has the instruction, and it changes
        // nothing.
        Some(unsafe { std::arch::x86_64::_rdtsc() })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod counter {
    pub(super) fn read() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_holds_until_the_host_is_started_anew() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(remembered(directory.path()), None);
        remember(directory.path(), 2_600_000);
        assert_eq!(remembered(directory.path()), Some(2_600_000));
        let before = Memo {
            boot_id: "another".to_owned(),
            khz: 2_600_000,
        };
        let memo = serde_json::to_vec(&before).unwrap();
        fs::write(directory.path().join(MEMO), memo).unwrap();
        assert_eq!(remembered(directory.path()), None);
    }

    #[test]
    fn the_frequency_is_ticks_by_time() {
        let at = Instant::now();
        let first = Reading { at, ticks: 1_000 };
        let after = |ticks: u64| Reading {
            at: at + Duration::from_millis(10),
            ticks: 1_000 + ticks,
        };
        assert_eq!(first.frequency_at(after(26_000_120)), Some(2_600_000));
        assert_eq!(first.frequency_at(after(25_999_880)), Some(2_600_000));
        assert_eq!(first.frequency_at(after(0)), None);
        assert_eq!(first.frequency_at(Reading { at, ticks: 0 }), None);
    }
}
