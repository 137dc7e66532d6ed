//! Bridges, TAPs, links and addresses of the network namespace that the caller is in, through
//! netlink. It knows nothing of machines.
//!
//! [`Netlink`] and [`loopback_up`] are all that a guest's agent needs; [`tap`] and [`probe`] are for
//! the host's side.

mod error;
mod loopback;
mod name;
mod netlink;
pub mod probe;
mod tap;

pub use error::NetError;
pub use loopback::loopback_up;
pub use name::{bridge_name, tap_name};
pub use netlink::{Link, Netlink};
pub use tap::{VnetHeader, tap};
