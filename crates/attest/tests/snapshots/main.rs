//! Labs that are saved, put back, and forked.

#[path = "../guest/support.rs"]
#[allow(dead_code, reason = "the tests of single guests use the rest")]
mod support;

mod faults;
mod labs;
mod state;

use attest::{Lab, LabBuilder};

/// A lab of two machines, `a` and `b`, on one network.
pub(crate) fn two() -> LabBuilder {
    Lab::builder().network("lan").machine("a").machine("b")
}

/// As [`one`], with an empty disk.
pub(crate) fn with_scratch() -> LabBuilder {
    let disk = attest::manifest::Disk {
        size: Some(attest::manifest::Size::from_mib(16)),
        ..Default::default()
    };
    Lab::builder().machine_with("a", |machine| machine.disks = vec![disk])
}
