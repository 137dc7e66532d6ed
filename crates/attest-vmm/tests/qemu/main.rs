//! Real QEMUs under TCG: their ends, their faults, and what Linux makes of their devices.

mod bare_metal;
#[path = "../common/children.rs"]
mod children;
mod faults;
mod linux;
mod snapshots;
mod support;
