//! Where root file systems come from.

mod archive;
mod debian;
mod directory;
mod identity;
mod meter;
mod nix;
mod oci;
mod tar;

pub use archive::archive;
pub use debian::{Debian, DebianError, debian};
pub use directory::directory;
pub(crate) use directory::{file, temporary};
pub(crate) use identity::identify;
pub use nix::{NixError, NixStore, NixSystem, STORE, in_store, nix, nix_store};
pub use oci::{OciError, oci};
pub use tar::TarError;
