//! Networks by hand: a bridge for each, in a network namespace of their own, with what the machines' cards are on.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attest_fixture::Node;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Result;

/// What the machines' ends of cards are.
#[derive(Clone, Copy)]
pub(super) enum Ends<'a> {
    /// TAPs, for virtual machines.
    Taps,
    /// Ends of pairs, each in the network namespace of its container, in the machines' order.
    Pairs(&'a [PathBuf]),
}

/// A new network namespace, under this name in the directory: for those who have mounts of their own.
pub(super) fn namespace(place: &Path, name: &str) -> Result<PathBuf> {
    let path = place.join(format!("network-{name}"));
    File::create(&path)?;
    std::thread::scope(|scope| {
        let made = scope.spawn(|| -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let own = Some("/proc/thread-self/ns/net");
            Ok(mount(
                own,
                &path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )?)
        });
        made.join().map_err(|_| "the thread panicked")?
    })?;
    Ok(path)
}

/// A card of a machine.
pub(super) struct Card {
    /// Of its end.
    pub(super) name: String,
    /// Says the guest its address.
    pub(super) mac: String,
    vlan: u8,
}

/// Those of a machine.
pub(super) fn cards(node: &Node) -> Vec<Card> {
    let number = node.number;
    let cards = node.vlans.iter().enumerate();
    cards
        .map(|(index, vlan)| Card {
            name: format!("eth{number}-{index}"),
            mac: format!("52:54:00:12:{vlan:02x}:{number:02x}"),
            vlan: *vlan,
        })
        .collect()
}

/// Make the networks, in the namespace of this thread; it has none yet.
pub(super) fn make(vlans: &[u8], nodes: &[Node], ends: Ends<'_>) -> Result<()> {
    if vlans.is_empty() {
        return Ok(());
    }
    // One start of the program for all.
    let mut program = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stdin = program.stdin.take().ok_or("no stdin")?;
    stdin.write_all(batch(vlans, nodes, ends).as_bytes())?;
    drop(stdin);
    let status = program.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("`ip` ended with {status} for the networks by hand").into())
}

fn batch(vlans: &[u8], nodes: &[Node], ends: Ends<'_>) -> String {
    let mut lines = Vec::new();
    for vlan in vlans {
        lines.push(format!("link add name vlan{vlan} type bridge"));
        lines.push(format!("link set vlan{vlan} up"));
    }
    for (index, node) in nodes.iter().enumerate() {
        for Card { name, mac, vlan } in cards(node) {
            let port = match ends {
                Ends::Taps => {
                    lines.push(format!("tuntap add mode tap name {name}"));
                    name
                }
                Ends::Pairs(namespaces) => {
                    let port = format!("port-{name}");
                    let namespace = namespaces[index].display();
                    lines.push(format!(
                        "link add name {name} netns {namespace} address {mac} type veth peer name {port}"
                    ));
                    port
                }
            };
            lines.push(format!("link set {port} master vlan{vlan} up"));
        }
    }
    lines.join("\n") + "\n"
}
