//! Each test gets the lab of `attest.toml` to itself, freshly booted.

use std::time::Duration;

use attest::{Lab, Machine, Run, wait_all};

/// A server that appends what it is sent to a file, one connection after the other.
const SERVER: &str = "nc -ll -p 2525 -e sh -c 'cat >> /var/mail' &";

#[attest::test]
async fn mail_arrives(lab: &Lab) -> attest::Result<()> {
    let (server, client) = (lab.machine("server")?, lab.machine("client")?);
    server.shell(SERVER).await?;
    server.wait_for_port(2525).await?;
    // Names are those of the manifest; the wait returns when the line is there, without a poll.
    client
        .shell("echo 'hello, world' | nc -w 1 server 2525")
        .await?;
    server
        .wait_for_text_in_file("/var/mail", "hello, world")
        .await?;
    Ok(())
}

#[attest::test]
async fn a_server_that_is_away_is_missed_and_found_again(lab: &Lab) -> attest::Result<()> {
    let (server, client) = (lab.machine("server")?, lab.machine("client")?);
    let call = "nc -w 1 server 2525 < /dev/null";
    client.shell(call).expect_failure().await?;
    // The server comes while the client waits for it.
    let come = server.shell(format!("sleep 0.3; {SERVER}")).spawn().await?;
    client
        .wait_until_succeeds(call)
        .timeout(Duration::from_secs(30))
        .await?;
    come.wait().await.map(drop)
}

/// A test need not be `async`.
#[attest::test]
fn both_know_each_other(lab: Lab) -> attest::Result<()> {
    let ping = |from: &Machine, to: &str| from.exec(["ping", "-c", "1", "-W", "5", to]);
    let (server, client) = (lab.machine("server")?, lab.machine("client")?);
    for output in wait_all([ping(&server, "client"), ping(&client, "server")]).run() {
        assert!(output?.text().contains("1 packets received"));
    }
    Ok(())
}
