//! Real Cloud Hypervisors with a guest without an operating system: their ends, their refusals, and machines that go on.

#[path = "../common/children.rs"]
mod children;
mod endings;
mod life;
mod refusals;
mod snapshots;
mod support;
