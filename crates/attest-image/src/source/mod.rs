//! Where root file systems come from.

mod archive;
mod directory;
mod tar;

pub(crate) use archive::Progress;
pub use archive::archive;
pub use directory::directory;
pub use tar::TarError;
