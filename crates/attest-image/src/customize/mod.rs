//! Changes to a tree, without running anything of it.

/// Counts the changes of the lean profile.
pub(crate) const LEAN_VERSION: u64 = 1;
