//! What the methods do.

pub(crate) mod balloon;
pub(crate) mod control;
pub(crate) mod lab;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod screen;
pub(crate) mod snapshot;
mod unit_by_shell;
