//! What machines boot from: kernels, modules, the built-in guest, disks; and the
//! content-addressed cache that keeps them.

pub mod bare;
mod cache;
pub mod cpio;
pub mod customize;
pub mod disks;
mod elf;
pub mod erofs;
mod error;
pub mod export;
mod fetch;
pub mod init;
mod kernel;
mod key;
mod module_image;
mod module_lists;
mod modules;
mod packing;
mod program;
mod progress;
pub mod root;
mod sandbox;
pub mod source;
pub mod sparse;
pub mod store;
pub mod tree;
mod unpacking;
mod vmlinux;

pub use cache::{
    Broken, CACHE_VARIABLE, Cache, CacheEntry, Caches, Damage, Damaged, Holds, Identity, Keep,
    Lease, SealedFile, Trust, Unfinished, Wanted,
};
pub use error::ImageError;
pub use kernel::{Kernel, KernelSource};
pub use module_lists::ModuleLists;
pub use modules::{ModuleError, ModulePlan, plan_modules};
pub use progress::{Amount, Pace, Step};

/// A choice and its reason, for the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What was chosen.
    pub what: &'static str,
    /// The choice.
    pub choice: String,
    /// Why.
    pub reason: String,
}
