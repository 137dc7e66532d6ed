//! systemd of real guests, as a test sees it: containers, and a virtual machine that boots.
//!
//! They need systemd-nspawn, QEMU, a kernel, and a Debian, which is made once with mmdebstrap.

mod connections;
#[path = "../common/debian.rs"]
mod debian;
mod reports;
mod support;
mod units;
