//! What is run by `outside`, with an environment for it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use attest::manifest::{LabPlan, Manifest};
use attest::{Lab, LabBuilder, LabContext, Machine, Recorder, Result, Run, SnapshotUse};

/// Names the program of `traffic.rs`.
pub(crate) const TRAFFIC: &str = "ATTEST_TEST_TRAFFIC";

/// Far more than anything here takes, so that a hang fails with a message of ours.
const LONG: Duration = Duration::from_mins(1);
/// On which the machines serve.
const PORT: u16 = 7;

/// Machines on a usual network, on one of long packets, and on one of the longest.
fn plan() -> LabPlan {
    let text = "[networks.lan]\n[networks.long]\nmtu = 9000\n[networks.longest]\nmtu = 65521\n\
                [machines.a]\nvcpus = 1\n[machines.b]\n";
    let manifest: Manifest = text.parse().expect("right");
    manifest.plan().expect("right")
}

fn two() -> LabBuilder {
    Lab::builder().network("lan").machine("a").machine("b")
}

/// Boot the lab of [`plan`], run the test, and end it in order.
fn run(body: impl AsyncFnOnce(&Lab) -> Result<()>) {
    let output = tempfile::tempdir().expect("a directory");
    let context = LabContext {
        recorder: Recorder::silent(),
        output: output.path().to_owned(),
        cache: None,
        snapshots: SnapshotUse::Never,
    };
    let work = async {
        let lab = Lab::boot(plan(), Some(context)).await?;
        for machine in lab.machines() {
            let program = std::env::var_os(TRAFFIC).expect("it is run by `outside`");
            machine.upload(PathBuf::from(program), "/traffic").await?;
            machine
                .shell(format!("/traffic serve {PORT} > /dev/null 2>&1 &"))
                .await?;
            machine.wait_for_port(PORT).await?;
        }
        let ended = body(&lab).await;
        lab.shutdown().await;
        ended
    };
    if let Err(error) = work.run() {
        panic!("{}", error.chain());
    }
}

/// Where a machine serves, on every network in both families.
fn addresses(of: &Machine) -> Vec<String> {
    let addresses = of.plan().cards.iter().flat_map(|card| &card.addresses);
    let addresses = addresses.map(|(address, _)| match address {
        IpAddr::V4(address) => format!("{address}:{PORT}"),
        IpAddr::V6(address) => format!("[{address}]:{PORT}"),
    });
    addresses.collect()
}

async fn text(machine: &Machine, command: &str) -> Result<String> {
    Ok(machine.shell(command).timeout(LONG).await?.text())
}

#[test]
#[ignore = "run by `outside`"]
fn much_passes_on_every_network_and_nothing_is_lost() {
    run(async |lab| {
        let (a, b) = (lab.machine("a")?, lab.machine("b")?);
        let mtus = text(&a, "cat /sys/class/net/eth*/mtu").await?;
        assert_eq!(mtus, "1500\n9000\n65521\n");
        for to in addresses(&b) {
            text(&a, &format!("/traffic tcp {to} 5000000")).await?;
            // The longest that fit into packets of each network; and what is cut into several.
            for size in [1, 1452, 8952, 60_000] {
                text(&a, &format!("/traffic udp {to} {size} 50")).await?;
            }
        }
        // Both ways at once.
        let (to_a, to_b) = (&addresses(&a)[0], &addresses(&b)[0]);
        let stream = |to: &str| format!("/traffic tcp {to} 5000000");
        let (stream_a, stream_b) = (stream(to_b), stream(to_a));
        let (one, two) = tokio::join!(text(&a, &stream_a), text(&b, &stream_b));
        one.and(two).map(drop)
    });
}

#[test]
#[ignore = "run by `outside`"]
fn connections_go_on_from_a_snapshot() {
    run(async |lab| {
        let (a, b) = (lab.machine("a")?, lab.machine("b")?);
        // Under way when it is saved; every byte of it is compared wherever it goes on.
        for (number, to) in addresses(&b)[1..3].iter().enumerate() {
            let stream = format!("/traffic tcp {to} 12000000 > /tmp/{number}");
            text(
                &a,
                &format!("{stream} 2>&1 && touch /tmp/{number}.passed &"),
            )
            .await?;
        }
        let snapshot = lab.snapshot().await?;
        let fork = snapshot.fork().await?;
        let all_passed = async |lab: &Lab| {
            let a = lab.machine("a")?;
            for number in [0, 1] {
                let passed = format!("/tmp/{number}.passed");
                a.wait_for_file(passed).timeout(LONG).await?;
            }
            // And new ones.
            for to in addresses(&b) {
                text(&a, &format!("/traffic tcp {to} 100000")).await?;
                text(&a, &format!("/traffic udp {to} 1452 20")).await?;
            }
            Ok(())
        };
        let (here, there) = tokio::join!(all_passed(lab), all_passed(&fork));
        here.and(there)?;
        fork.shutdown().await;
        lab.restore(&snapshot).await?;
        all_passed(lab).await
    });
}

#[attest::test(lab = two())]
#[ignore = "run by `outside`"]
async fn machines_reach_each_other(lab: Lab) -> Result<()> {
    lab.machine("a")?.shell("ping -c1 -W5 b").await?;
    lab.machine("b")?.shell("ping -c1 -W5 a").await?;
    Ok(())
}
