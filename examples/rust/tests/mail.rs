//! Each test gets the lab of `attest.toml` to itself: as it has booted, or as its set-up left it. Neither is done more
//! than once: each test goes on from there by itself.

use std::time::Duration;

use attest::{Lab, Machine, Run, wait_all};
use serde::{Deserialize, Serialize};

/// A server that appends what it is sent to a file, one connection after the other.
const SERVER: &str = "nc -ll -p 2525 -e sh -c 'cat >> /var/mail' &";

/// What tests on a server that runs want to know of it. It is kept with the state, as JSON.
#[derive(Serialize, Deserialize)]
struct Mail {
    port: u16,
    file: String,
}

#[attest::setup]
async fn serving(lab: &Lab) -> attest::Result<Mail> {
    let server = lab.machine("server")?;
    server.shell(SERVER).await?;
    server.wait_for_port(2525).await?;
    Ok(Mail {
        port: 2525,
        file: "/var/mail".to_owned(),
    })
}

#[attest::test(setup = serving)]
async fn mail_arrives(lab: &Lab, mail: Mail) -> attest::Result<()> {
    let (server, client) = (lab.machine("server")?, lab.machine("client")?);
    // Names are those of the manifest; the wait returns when the line is there, without a poll.
    let port = mail.port;
    client
        .shell(format!("echo 'hello, world' | nc -w 1 server {port}"))
        .await?;
    server
        .wait_for_text_in_file(mail.file, "hello, world")
        .await?;
    Ok(())
}

/// Whatever other tests did: nobody has sent anything yet.
#[attest::test(setup = serving)]
async fn there_is_no_mail_at_first(lab: &Lab, mail: Mail) -> attest::Result<()> {
    let server = lab.machine("server")?;
    // Whoever looked whether it listens left an empty file.
    server.exec(["test", "!", "-s", &mail.file]).await?;
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
