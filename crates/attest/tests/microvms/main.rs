//! Labs under Firecracker and Cloud Hypervisor, on the real programs where they are on `PATH`, with a guest that is no
//! operating system: it runs where stock kernels do not.

#[path = "../guest/support.rs"]
#[allow(dead_code, reason = "the tests of single guests use the rest")]
mod support;

mod devices;
mod faults;
mod guest;
mod life;
mod snapshots;
