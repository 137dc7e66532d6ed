//! The program as people use it: what it prints, how it ends, and what it leaves behind.

mod attach;
mod builders;
mod dropin;
mod help;
mod image;
mod interrupt;
mod keep;
mod kept;
mod leftovers;
mod matrix;
mod plan;
mod rpc;
mod runs;
mod schedule;
mod snapshot;
mod snapshot_use;
mod support;
mod wrong;
