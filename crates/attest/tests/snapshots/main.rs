//! Labs that are saved, put back, and forked.

#[path = "../guest/support.rs"]
#[allow(dead_code, reason = "the tests of single guests use the rest")]
mod support;

mod labs;
