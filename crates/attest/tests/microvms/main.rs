//! Labs under Firecracker and Cloud Hypervisor, on the real programs where they are on `PATH`, with a guest that is no
//! operating system, for it runs where stock kernels do not; and with Linux, where KVM runs that.

#[path = "../guest/support.rs"]
#[allow(dead_code, reason = "the tests of single guests use the rest")]
mod support;

#[path = "../common/debian.rs"]
#[allow(dead_code, reason = "the tests of containers use the rest")]
mod debian;
mod devices;
mod faults;
mod guest;
mod life;
mod linux;
mod snapshots;
