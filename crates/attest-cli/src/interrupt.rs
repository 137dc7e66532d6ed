//! Ctrl-C: once for an orderly stop with the results so far, twice for an end at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use attest::events::ExitCode;

/// Becomes true at the first SIGINT or SIGTERM; the second ends the process. Nothing is left
/// behind either way: the kernel ends a lab whose driver is gone.
pub(crate) fn watch_signals() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            if sender.send_replace(true) {
                std::process::exit(i32::from(ExitCode::Interrupted.code()));
            }
            crate::terminal::tell("interrupted: stopping in order; again to end at once");
        }
    });
    Ok(receiver)
}
