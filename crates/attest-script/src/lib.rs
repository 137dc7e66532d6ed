//! Scripts run in CPython, in a process of their own, which drives a lab over
//! [`attest_rpc`]. attest carries its Python package, and needs no Python where no script is
//! written in it.

mod error;
mod outline;
mod output;
mod package;
mod process;
mod python;
mod run;

pub use error::ScriptError;
pub use package::{FILES, Package};
pub use process::{Ending, ScriptProcess, ScriptSocket};
pub use python::Python;
pub use run::Scripts;
