//! A lab process, for real: as root without, else with a user namespace.

mod common;
mod death;
mod garbage;
mod places;
mod program;
mod scripts;
