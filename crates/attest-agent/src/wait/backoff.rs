//! Pauses between tries: short at first, and never long where a wait is young.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Pauses that double from a millisecond to `young`, and, once the wait is older than ten
/// seconds, to `old`.
#[derive(Debug)]
pub(crate) struct Backoff {
    began: Instant,
    pause: Duration,
    young: Duration,
    old: Duration,
}

const FIRST: Duration = Duration::from_millis(1);
const YOUTH: Duration = Duration::from_secs(10);

impl Backoff {
    pub(crate) fn new(young: Duration, old: Duration) -> Self {
        Self {
            began: Instant::now(),
            pause: FIRST,
            young,
            old,
        }
    }

    pub(crate) async fn pause(&mut self) {
        sleep(self.pause).await;
        let longest = if self.began.elapsed() < YOUTH {
            self.young
        } else {
            self.old
        };
        self.pause = longest.min(self.pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_stay_short_while_a_wait_is_young() {
        let mut backoff = Backoff::new(Duration::from_millis(8), Duration::from_millis(50));
        let mut longest = Duration::ZERO;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(9) {
            let before = Instant::now();
            backoff.pause().await;
            longest = longest.max(before.elapsed());
        }
        assert!(longest <= Duration::from_millis(9), "{longest:?}");
    }
}
