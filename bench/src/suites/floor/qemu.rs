//! A suite's virtual machines by hand.

use std::path::Path;
use std::process::Child;
use std::time::Instant;

use attest::Lab;
use attest::manifest::{Backend, KernelPlan};
use attest_fixture::Node;
use nix::sched::CloneFlags;

use super::console::Consoles;
use super::network::{self, Ends};
use super::{Ran, nodes};
use crate::by_hand::apart;
use crate::by_hand::qemu::Started;
use crate::suites::suite::Suite;
use crate::{Result, labs};

/// The command line that attest has for a machine of the suite.
pub(super) fn attests(suite: &Suite) -> Result<Vec<String>> {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(command_line(suite)))
}

async fn command_line(suite: &Suite) -> Result<Vec<String>> {
    let mut plan = suite.plan.clone();
    for machine in &mut plan.machines {
        machine.backend = Backend::Qemu;
        machine.image.kernel = KernelPlan::Path(suite.kernel.image.clone());
    }
    let first = plan.machines.first().ok_or("a suite without machines")?;
    let name = first.name.clone();
    let output = tempfile::tempdir()?;
    let lab = Lab::create(plan, labs::context(output.path())).await?;
    let machine = lab.machine(&name)?;
    machine.start().await?;
    let pid = machine.vmm_pid().await.ok_or("the machine has no VMM")?;
    let command = crate::boot::command_line(pid)?;
    lab.shutdown().await;
    Ok(command)
}

pub(super) fn run(suite: &Suite, attests: &[String]) -> Result<Ran> {
    apart(CloneFlags::CLONE_NEWNET, |place| {
        let nodes = nodes(suite)?;
        network::make(&suite.vlans(), &nodes, Ends::Taps)?;
        let set_up = Instant::now();
        let initrds: Result<Vec<_>> = nodes
            .iter()
            .map(|node| Ok(suite.fixture.write_initrd(place, node)?))
            .collect();
        let initrds = initrds?;
        let root = Instant::now();
        let mut consoles = Consoles::new();
        let mut machines = Vec::new();
        for (node, initrd) in nodes.iter().zip(&initrds) {
            let mut machine = start(suite, attests, node, initrd)?;
            let console = machine.0.stdout.take().ok_or("no console")?;
            consoles.add(&node.name, console);
            machines.push(machine);
        }
        let said = consoles.wait()?;
        for machine in &mut machines {
            machine.0.kill()?;
        }
        drop(machines);
        Ok(Ran { set_up, root, said })
    })
}

fn start(suite: &Suite, attests: &[String], node: &Node, initrd: &Path) -> Result<Running> {
    let (disks, _) = suite.fixture.disks_of_image();
    let disks: Vec<&Path> = disks.iter().map(AsRef::as_ref).collect();
    let name = &node.name;
    let words = format!("fixture.name={name} {}", node.kernel_arguments.join(" "));
    let started = Started {
        attests,
        kernel: Some(suite.fixture.kernel()),
        initrd,
        words: &words,
        disks: &disks,
    };
    let mut command = started.command()?;
    for (index, card) in network::cards(node).iter().enumerate() {
        let (name, mac) = (&card.name, &card.mac);
        let tap = format!("tap,id=net{index},ifname={name},script=no,downscript=no");
        let device = format!("{},netdev=net{index},mac={mac}", started.device("net"));
        command.args(["-netdev", &tap, "-device", &device]);
    }
    Ok(Running(command.spawn()?))
}

/// Ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, at worst.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
