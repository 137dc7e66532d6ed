//! What the tests share.

use nix::sched::CloneFlags;

/// Run the future on a new thread in a new network namespace. Needs CAP_SYS_ADMIN; as another
/// user, attest-lab's tests cover the same ground in a user namespace.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: &str, future: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(errno) = nix::sched::unshare(CloneFlags::CLONE_NEWNET) {
                eprintln!("skipped: {test}: no network namespace without CAP_SYS_ADMIN: {errno}");
                return;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build();
            runtime.expect("a runtime").block_on(future());
        });
        thread.join().expect("the test's thread");
    });
}
