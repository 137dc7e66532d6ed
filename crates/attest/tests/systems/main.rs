//! Whole systems on every backend: containers, hosts over ssh, and virtual machines with disks,
//! each as a test sees it. What this host cannot do is skipped by name.

mod containers;
#[path = "../common/debian.rs"]
mod debian;
mod disks;
mod hosts;
mod labs;
