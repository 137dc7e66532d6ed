//! The Rust API on real guests: every operation as its user sees it, and every fault by its name.
//!
//! Each test boots a lab of its own. They need QEMU and a kernel; `cargo xtask test` gets both.

mod api;
mod commands;
mod copies;
mod faults;
mod forwards;
mod life;
mod networks;
mod support;
mod waits;
