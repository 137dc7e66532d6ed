//! Changes to a tree, without running anything of it: users, files, units of systemd, and the
//! lean profile. What is made is of the form that the system's own tools give it.

mod error;
mod files;
mod first_boot;
mod lean;
mod text;
mod units;
mod users;

pub use error::CustomizeError;
pub use files::add as add_files;
pub use first_boot::prepare as prepare_first_boot;
pub(crate) use lean::VERSION as LEAN_VERSION;
pub use lean::{GENERATORS, Generator, LEAN, Lean, Masked, apply as make_lean};
pub use units::apply as set_units;
pub use users::add as add_users;
