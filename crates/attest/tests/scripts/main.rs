//! Machines by start scripts in the shape of NixOS's.

mod containers;
mod faults;
mod life;
mod screen;
mod support;
mod vlans;
