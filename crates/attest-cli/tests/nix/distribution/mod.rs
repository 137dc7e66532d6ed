//! Suites over several builders, of which one is lost, with real Nix; their shards are tiny.

mod here;
mod place;
mod processes;
mod ssh;
mod stores;
