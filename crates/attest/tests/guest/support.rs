//! What these tests share.

use std::path::Path;
use std::time::Duration;

use attest::{Error, Lab, LabBuilder, LabContext, Machine, Recorder, Result, SnapshotUse};

/// Far more than anything here takes, so that a hang fails with a message of ours.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A lab of one machine, `a`, without networks.
pub(crate) fn one() -> LabBuilder {
    Lab::builder().machine("a")
}

/// As [`one`], with these arguments for its kernel.
pub(crate) fn one_with_arguments(arguments: &[&str]) -> LabBuilder {
    let arguments = arguments.iter().map(|&argument| argument.into()).collect();
    Lab::builder().machine_with("a", |machine| machine.kernel_arguments = arguments)
}

/// For a lab that boots, and whose events nobody reads.
pub(crate) fn silent(output: &Path) -> LabContext {
    LabContext {
        recorder: Recorder::silent(),
        output: output.to_owned(),
        cache: None,
        snapshots: SnapshotUse::Never,
    }
}

/// The text that a shell command prints.
pub(crate) async fn text(machine: &Machine, command: &str) -> Result<String> {
    Ok(machine.shell(command).await?.text())
}

/// The error of what must fail, which names the machine.
#[track_caller]
pub(crate) fn failed<T: std::fmt::Debug>(result: Result<T>) -> Error {
    let error = result.expect_err("this cannot succeed");
    assert_eq!(error.machine(), Some("a"), "{error:?}");
    assert!(error.chain().contains("a: "), "{}", error.chain());
    error
}
