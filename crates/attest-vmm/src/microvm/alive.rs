//! A VMM's process for as long as somebody has its machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::{BoxFuture, Ending, Launched, SIGKILL};

/// The process, and how its machine ended. It is ended when this is dropped: nobody could do so any more.
#[derive(Debug)]
pub(crate) struct Alive {
    process: Arc<dyn Launched>,
    killed: Arc<AtomicBool>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Alive {
    /// `find_out` tells how it ended; it is told whether attest asked for that.
    pub(crate) fn new<F: Future<Output = Ending> + Send + 'static>(
        process: Arc<dyn Launched>,
        find_out: impl FnOnce(Arc<AtomicBool>) -> F,
    ) -> Self {
        let killed = Arc::new(AtomicBool::new(false));
        let (sender, ending) = watch::channel(None);
        let finding_out = find_out(Arc::clone(&killed));
        tokio::spawn(async move {
            let ending = finding_out.await;
            sender.send_replace(Some(ending));
        });
        Self {
            process,
            killed,
            ending,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn ended(&self) -> BoxFuture<'_, Ending> {
        crate::running::known(&self.ending)
    }

    pub(crate) fn kill(&self) -> BoxFuture<'_, ()> {
        crate::running::kill(&*self.process, &self.killed)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.ending.borrow().is_none() {
            self.killed.store(true, Ordering::SeqCst);
            self.process.signal(SIGKILL);
        }
    }
}
