//! When which test runs: budgets, orders, shards, and what earlier runs took.
//!
//! All decisions are made here, from numbers alone; who runs the tests is in [`crate::run`].

mod admission;
mod history;
mod host;
mod order;
mod shard;

pub(crate) use admission::{Admission, Budget, Need, Next};
pub use history::{History, HistoryError, Measured, Usage};
pub use host::default_jobs;
pub(crate) use host::{memory_of_host, spare_memory};
pub use order::{Order, UnknownOrder};
pub use shard::{Shard, WrongShard};

/// Bytes of a mebibyte.
pub(crate) const MIB: u64 = 1024 * 1024;
