//! Where root file systems come from.

mod archive;
mod debian;
mod directory;
mod identity;
mod tar;

pub(crate) use archive::Progress;
pub use archive::archive;
pub use debian::{Debian, DebianError, debian};
pub use directory::directory;
pub(crate) use directory::{file, temporary};
pub(crate) use identity::identify;
pub use tar::TarError;
