//! The server as a client sees it.

mod client;
mod labs;
mod wire;
