//! Labs of benchmarks.

use std::path::Path;

use attest::{LabContext, Recorder, SnapshotUse};

/// Of a lab whose events nobody reads; consoles go to this directory.
pub(crate) fn context(output: &Path) -> LabContext {
    LabContext {
        recorder: Recorder::silent(),
        output: output.to_owned(),
        cache: None,
        snapshots: SnapshotUse::default(),
    }
}
