//! What QEMU's monitors can be asked, and what they tell.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde_json::Value;
use tokio::sync::watch;

use crate::qmp::QmpError;
use crate::{BoxFuture, VmmError};

/// QEMU's monitors.
pub trait Monitor: Send + Sync {
    /// A command of the monitor for people, and the answer: where QEMU has such a monitor of its own, as
    /// that prints it, with the echo before and the prompt after; else the text alone. A QEMU that
    /// ends by the command has answered with what came until then.
    fn human<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<String, VmmError>>;

    /// A command of the machine protocol (QMP), and what it returns.
    fn execute<'a>(
        &'a self,
        command: &'a str,
        arguments: Value,
    ) -> BoxFuture<'a, Result<Value, QmpError>>;

    /// The events from this position on, whole and oldest first, and the position after them. The
    /// first since the machine's start is number 0; the last 4096 are kept, so that what comes
    /// may begin later than asked.
    fn events(&self, from: u64) -> (Vec<Value>, u64);

    /// Resolves when there is an event at or beyond this position; never after QEMU has ended.
    fn events_grown(&self, from: u64) -> BoxFuture<'_, ()>;
}

/// Events that are kept.
const KEPT: usize = 4096;

/// The latest events of a QEMU.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<VecDeque<Value>>,
    /// How many there were.
    count: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Events {
    pub(crate) fn push(&self, event: Value) {
        let mut kept = self.kept.lock().expect("not poisoned");
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn since(&self, from: u64) -> (Vec<Value>, u64) {
        let kept = self.kept.lock().expect("not poisoned");
        let count = *self.count.borrow();
        let first = count - kept.len() as u64;
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        (kept.iter().skip(skipped).cloned().collect(), count)
    }

    pub(crate) fn grown(&self, from: u64) -> BoxFuture<'_, ()> {
        let mut count = self.count.subscribe();
        Box::pin(async move {
            // The sender lives in self.
            let _ = count.wait_for(|count| *count > from).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use poll::now;

    mod poll {
        use std::future::Future;
        use std::pin::pin;
        use std::task::{Context, Waker};

        /// Whether it is ready.
        pub(super) fn now(future: impl Future<Output = ()>) -> bool {
            let mut context = Context::from_waker(Waker::noop());
            pin!(future).poll(&mut context).is_ready()
        }
    }

    #[test]
    fn positions_count_all_events_and_memory_is_bounded() {
        let events = Events::default();
        assert_eq!(events.since(0), (vec![], 0));
        assert!(!now(events.grown(0)));
        for number in 0..KEPT + 2 {
            events.push(json!(number));
        }
        let (all, next) = events.since(0);
        assert_eq!((all.len(), next), (KEPT, KEPT as u64 + 2));
        assert_eq!(all[0], json!(2));
        assert_eq!(events.since(next - 1).0, [json!(KEPT + 1)]);
        assert_eq!(events.since(next + 7), (vec![], next));
        assert!(now(events.grown(next - 1)));
        assert!(!now(events.grown(next)));
    }
}
