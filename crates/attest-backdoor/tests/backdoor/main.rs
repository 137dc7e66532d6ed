//! The whole of it: a host's end of the protocol, and a real bash, or a hostile one.

mod commands;
mod copies;
mod faults;
mod support;
mod waits;
