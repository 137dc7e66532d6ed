//! What a router makes of its routes under each policy. Each test begins with the policy that was read at the start;
//! the lab is in `policy-reload/attest.toml`.

use attest::{Lab, Machine, Result};
use attest_suites::{refuses, says};

/// Looked at under each policy.
const CHECKS: [&str; 10] = [
    "birdcl eval POLICY",
    "birdcl 'eval 172.16.0.0/12 ~ WANTED'",
    "birdcl show route count",
    "birdcl show route filter policy table announced count",
    "birdcl show route 10.1.0.0/16 all",
    "birdcl show route for 10.2.200.1 all",
    "birdcl 'show route where net.len > 16 count'",
    "birdcl 'show route where bgp_community ~ [(65000, POLICY)] count'",
    "birdcl 'show route where dest = RTD_UNREACHABLE count'",
    "birdcl show protocols all selected",
];

/// What is in the answers, check by check.
type Answers = [&'static [&'static str]; CHECKS.len()];

const CUSTOMERS: Answers = [
    &["101"],
    &["FALSE"],
    &["2 of 2 routes"],
    &["2 of 7 routes"],
    &["(110)", "local_pref: 100", "(65000,101)"],
    &["10.2.0.0/16", "blackhole"],
    &["0 of 2 routes"],
    &["2 of 2 routes"],
    &["0 of 2 routes"],
    &["2 imported"],
];
const PEERS: Answers = [
    &["102"],
    &["TRUE"],
    &["5 of 5 routes"],
    &["5 of 7 routes"],
    &["(120)", "local_pref: 200", "(65000,102)"],
    &["10.2.128.0/17", "unreachable", "as_path: 65010"],
    &["2 of 5 routes"],
    &["5 of 5 routes"],
    &["1 of 5 routes"],
    &["5 imported"],
];
const TRANSIT: Answers = [
    &["103"],
    &["TRUE"],
    &["6 of 6 routes"],
    &["6 of 7 routes"],
    &["(130)", "local_pref: 300", "(65000,103)"],
    &["10.2.128.0/17", "unreachable", "med: 30"],
    &["3 of 6 routes"],
    &["6 of 6 routes"],
    &["2 of 6 routes"],
    &["6 imported"],
];
const STRICT: Answers = [
    &["104"],
    &["FALSE"],
    &["2 of 2 routes"],
    &["2 of 7 routes"],
    &["(140)", "local_pref: 400", "(65000,104) (65000,666)"],
    &["10.2.128.0/17", "unreachable"],
    &["1 of 2 routes"],
    &["2 of 2 routes"],
    &["1 of 2 routes"],
    &["2 imported"],
];

#[attest::setup(manifest = "policy-reload/attest.toml")]
async fn policy_read(lab: &Lab) -> Result<()> {
    let router = lab.machine("router")?;
    router.wait_for_unit("bird").await?;
    router.wait_for_unix_socket("/run/bird/bird.ctl").await?;
    settled(&router, 101, 2).await
}

#[attest::test(setup = policy_read)]
async fn read_at_the_start(lab: &Lab) -> Result<()> {
    check(&lab.machine("router")?, CUSTOMERS).await
}

#[attest::test(setup = policy_read)]
async fn reloaded_by_a_signal(lab: &Lab) -> Result<()> {
    let router = lab.machine("router")?;
    router
        .shell("cp /etc/bird/policies/peers.conf /etc/bird/policy.conf")
        .await?;
    router.shell("systemctl kill --signal HUP bird").await?;
    settled(&router, 102, 5).await?;
    check(&router, PEERS).await
}

#[attest::test(setup = policy_read)]
async fn reloaded_by_command(lab: &Lab) -> Result<()> {
    let router = lab.machine("router")?;
    router
        .shell("cp /etc/bird/policies/transit.conf /etc/bird/policy.conf")
        .await?;
    says(&router, "birdcl configure", &["Reconfigured"]).await?;
    settled(&router, 103, 6).await?;
    check(&router, TRANSIT).await
}

#[attest::test(setup = policy_read)]
async fn replaced_as_a_whole_or_not_at_all(lab: &Lab) -> Result<()> {
    let router = lab.machine("router")?;
    move_in(&router, "broken").await?;
    let mistake = ["policy.conf:7", "syntax error"];
    refuses(&router, "birdcl configure", &mistake).await?;
    says(&router, "birdcl eval POLICY", &["101"]).await?;
    replace(&router).await?;
    check(&router, STRICT).await
}

#[attest::test(setup = policy_read)]
async fn restored(lab: &Lab) -> Result<()> {
    let router = lab.machine("router")?;
    replace(&router).await?;
    move_in(&router, "customers").await?;
    says(&router, "birdcl configure", &["Reconfigured"]).await?;
    settled(&router, 101, 2).await?;
    check(&router, CUSTOMERS).await
}

/// All routes are of this policy.
async fn settled(router: &Machine, policy: u32, routes: u32) -> Result<()> {
    let command = format!(
        "birdcl 'show route where bgp_community ~ [(65000, {policy})] count' \
         | grep '^{routes} of {routes} routes'"
    );
    router.wait_until_succeeds(command).await.map(drop)
}

async fn check(router: &Machine, answers: Answers) -> Result<()> {
    for (command, parts) in CHECKS.into_iter().zip(answers) {
        says(router, command, parts).await?;
    }
    Ok(())
}

/// Nobody ever sees a half of it.
async fn move_in(router: &Machine, policy: &str) -> Result<()> {
    let copy = format!("cp /etc/bird/policies/{policy}.conf /etc/bird/policy.conf.new");
    router.shell(copy).await?;
    router
        .shell("mv /etc/bird/policy.conf.new /etc/bird/policy.conf")
        .await
        .map(drop)
}

async fn replace(router: &Machine) -> Result<()> {
    move_in(router, "strict").await?;
    says(router, "birdcl configure", &["Reconfigured"]).await?;
    settled(router, 104, 2).await
}
