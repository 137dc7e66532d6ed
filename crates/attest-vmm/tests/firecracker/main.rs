//! Firecracker's client against a strict fake of Firecracker: on every host, without KVM and without a process.

mod alone;
#[path = "../common/children.rs"]
mod children;
#[expect(dead_code, reason = "the fake of Cloud Hypervisor needs the rest")]
#[path = "../common/fake/mod.rs"]
mod common;
mod endings;
mod fake;
mod killed;
mod life;
mod refusals;
mod snapshots;
mod strict;
mod support;
mod vsock;
