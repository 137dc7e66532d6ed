//! Bridges, TAPs, links and addresses of the network namespace that the caller is in, through
//! netlink. It knows nothing of machines.
//!
//! [`configure`] and [`loopback_up`] are a guest's; the rest is for the host's side.

mod cards;
mod error;
mod ethernet;
mod loopback;
mod name;
mod netlink;
mod offloads;
pub mod probe;
mod relay;
mod tap;

pub use cards::{Card, configure};
pub use error::NetError;
pub use loopback::loopback_up;
pub use name::{bridge_name, card_name, tap_name};
pub use netlink::{Link, Netlink, VirtualCard};
pub use relay::Relay;
pub use tap::{VnetHeader, lasting_tap, tap};
