//! The surface of attest for other languages: JSON-RPC 2.0 on a socket that a process inherited.
//!
//! Each message is a line of JSON. One that carries bytes (an output, a picture) has the member
//! `attachments` with their numbers, and they follow the line: nothing is encoded twice. Calls run
//! side by side, answers come in any order, `cancel` gives one up. Everything that a client may
//! say is in [`schema()`], which is made of the types of [`types`].

mod calls;
mod error;
mod schema;
mod serve;
mod session;
mod snapshots;
mod table;
pub mod types;
mod wire;

pub use error::{ErrorKind, RpcError};
pub use schema::schema;
pub use serve::{Served, serve};
pub use session::Session;
pub use wire::{LONGEST_LINE, MOST_ATTACHED, WireError};

/// What this server speaks. A client that speaks less gets less.
pub const GENERATION: u32 = 1;
