//! A suite's containers by hand.

use std::path::PathBuf;
use std::time::Instant;

use nix::sched::CloneFlags;

use super::console::Consoles;
use super::network::{self, Ends};
use super::{Ran, nodes};
use crate::Result;
use crate::by_hand::apart;
use crate::by_hand::container::{Container, mount_image, overlay, put};
use crate::suites::suite::Suite;

pub(super) fn run(suite: &Suite) -> Result<Ran> {
    apart(CloneFlags::CLONE_NEWNET, |place| {
        let nodes = nodes(suite)?;
        let networks: Result<Vec<PathBuf>> = nodes
            .iter()
            .map(|node| network::namespace(place, &node.name))
            .collect();
        let networks = networks?;
        network::make(&suite.vlans(), &nodes, Ends::Pairs(&networks))?;
        let set_up = Instant::now();
        let lower = mount_image(place, suite.image())?;
        let mut roots = Vec::new();
        for node in &nodes {
            let root = overlay(place, &lower, &node.name)?;
            put(&root, &node.files)?;
            roots.push(root);
        }
        let root = Instant::now();
        let mut consoles = Consoles::new();
        let mut machines = Vec::new();
        for ((node, root), network) in nodes.iter().zip(&roots).zip(&networks) {
            let name = &node.name;
            let more = [
                format!("--network-namespace-path={}", network.display()),
                // As systemd-nspawn gives with a network that it makes itself.
                "--capability=CAP_NET_ADMIN".to_owned(),
                format!("--hostname={name}"),
            ];
            let (machine, console) = Container::with_console(root, name, &more)?;
            consoles.add(name, console);
            machines.push(machine);
        }
        let said = consoles.wait()?;
        for machine in &machines {
            machine.kill();
        }
        drop(machines);
        Ok(Ran { set_up, root, said })
    })
}
