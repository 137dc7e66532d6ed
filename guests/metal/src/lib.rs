//! What of the bare-metal guest needs no machine: the protocol's codec, and arithmetic. It is tested on
//! the host against attest's own protocol crate; the program around it is in `src/metal`.
#![cfg_attr(not(test), no_std)]

pub mod cbor;
pub mod frame;
pub mod message;
pub mod pattern;
pub mod ring;
pub mod text;
