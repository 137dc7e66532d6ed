//! Where root file systems come from.

mod directory;

pub use directory::directory;
