//! Where root file systems come from.

mod archive;
mod directory;
mod meter;
mod nix;
mod oci;
mod tar;

pub use archive::archive;
pub use directory::directory;
pub(crate) use meter::Told;
pub use nix::{NixError, NixSystem, STORE, nix};
pub use oci::{OciError, oci};
pub use tar::TarError;
