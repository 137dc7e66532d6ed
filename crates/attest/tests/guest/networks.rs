//! Networks: names, addresses, and no way out.

use attest::{Lab, LabBuilder, Machine, Result};

use crate::support::text;

fn three() -> LabBuilder {
    let on = |networks: &[&str]| {
        let networks = networks
            .iter()
            .map(|&name| attest::manifest::MachineNetwork::Name(name.into()));
        let networks: Vec<_> = networks.collect();
        move |machine: &mut attest::manifest::Machine| machine.networks = Some(networks)
    };
    Lab::builder()
        .network("left")
        .network("right")
        .machine_with("a", on(&["left"]))
        .machine_with("router", on(&["left", "right"]))
        .machine_with("b", on(&["right"]))
}

async fn reaches(from: &Machine, to: &str) -> Result<bool> {
    let ping = from
        .exec(["ping", "-c1", "-W2", to])
        .ignore_status()
        .await?;
    Ok(ping.success())
}

#[attest::test(lab = three())]
async fn machines_reach_those_on_their_networks_and_nothing_else(lab: Lab) -> Result<()> {
    let (a, router, b) = (lab.machine("a")?, lab.machine("router")?, lab.machine("b")?);
    assert!(reaches(&a, "router").await?);
    assert!(reaches(&b, "router").await?);
    assert!(reaches(&router, "a").await? && reaches(&router, "b").await?);
    assert!(!reaches(&a, "b").await?, "two networks are one");
    // IPv6 as well, at the planned address.
    let (address, _) = router.plan().cards[0].addresses[1];
    assert!(address.is_ipv6());
    a.exec(["ping", "-6", "-c1", "-W5", &address.to_string()])
        .await?;
    // The cards bear the planned addresses, of their own making.
    let addresses = text(&router, "cat /sys/class/net/*/address").await?;
    for card in &router.plan().cards {
        let mac = card.mac.map(|byte| format!("{byte:02x}")).join(":");
        assert!(
            addresses.lines().any(|line| line == mac),
            "{mac}: {addresses}"
        );
        assert_eq!(
            card.mac[0] & 3,
            2,
            "locally administered, of one card: {mac}"
        );
    }
    // No default route, and nothing outside answers.
    assert_eq!(text(&a, "ip route | grep default || true").await?, "");
    assert!(!reaches(&a, "192.0.2.1").await?);
    // Every machine knows every name, its own too.
    let names = text(
        &a,
        "getent hosts router || grep -w router /etc/hosts; hostname; cat /etc/hosts",
    )
    .await?;
    for name in ["a", "router", "b"] {
        assert!(
            names
                .lines()
                .any(|line| line.split_whitespace().skip(1).any(|word| word == name)),
            "{name}: {names}"
        );
    }
    Ok(())
}

#[attest::test(lab = three())]
async fn large_packets_and_many_connections_pass(lab: Lab) -> Result<()> {
    let (a, router) = (lab.machine("a")?, lab.machine("router")?);
    // The whole MTU without fragments: 1500 - 20 (IPv4) - 8 (ICMP).
    a.exec(["ping", "-c1", "-W5", "-s", "1472", "router"])
        .await?;
    router.shell("nc -ll -p 9 -e cat &").await?;
    router.wait_for_port(9).await?;
    let sent = text(
        &a,
        "head -c 1000000 /dev/urandom > /tmp/r; nc router 9 < /tmp/r | cmp - /tmp/r && echo same",
    )
    .await?;
    assert_eq!(sent, "same\n");
    Ok(())
}
