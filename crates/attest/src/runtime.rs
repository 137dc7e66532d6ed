//! The blocking face: one runtime for the whole process, and one trait that runs anything on it.

use std::future::{Future, IntoFuture};
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Runs an operation to its end on the calling thread: the blocking face of every `async`
/// function and every operation of this crate.
///
/// ```no_run
/// # use attest::{Lab, Run};
/// # fn f(lab: Lab) -> attest::Result<()> {
/// lab.machine("server")?.wait_for_port(80).run()?;
/// # Ok(()) }
/// ```
///
/// # Panics
/// When called from within an async task: `.await` it there.
pub trait Run: IntoFuture + Sized {
    /// Block until it has ended.
    fn run(self) -> Self::Output {
        runtime().block_on(self.into_future())
    }
}

impl<T: IntoFuture> Run for T {}

/// Run all of these at once; the results come in the order of the operations.
///
/// ```no_run
/// # async fn f(a: attest::Machine, b: attest::Machine) -> attest::Result<()> {
/// for met in attest::wait_all([a.wait_for_port(80), b.wait_for_port(80)]).await {
///     met?;
/// }
/// # Ok(()) }
/// ```
pub async fn wait_all<I>(operations: I) -> Vec<<I::Item as IntoFuture>::Output>
where
    I: IntoIterator,
    I::Item: IntoFuture,
{
    futures_util::future::join_all(operations.into_iter().map(IntoFuture::into_future)).await
}

/// The runtime behind [`Run`]. Two workers: the driver's own work is small, and more threads
/// only take the cores from the guests.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("attest")
            .enable_all()
            .build()
            .expect("the kernel gives threads and an epoll descriptor")
    })
}

/// Do work that blocks its thread, where it may. When it panics, so does this.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Aborts a background task when its owner is gone.
#[derive(Debug)]
pub(crate) struct Background(tokio::task::JoinHandle<()>);

impl Background {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Abort it, and wait until it does nothing any more.
    pub(crate) async fn end(mut self) {
        self.0.abort();
        // Aborted or ended: it is over.
        let _ = (&mut self.0).await;
    }
}

impl From<tokio::task::JoinHandle<()>> for Background {
    fn from(task: tokio::task::JoinHandle<()>) -> Self {
        Self(task)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
