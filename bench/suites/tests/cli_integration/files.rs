//! Files of the host are sent from machine to machine, and back to the host.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use attest::Result;

use crate::lan::{LOG, Lan};

/// Write a file of the host.
fn write(host: &Path, name: &str, contents: &[u8]) -> PathBuf {
    let path = host.join(name);
    std::fs::write(&path, contents).expect("the output can be written to");
    path
}

async fn are_equal(lan: &Lan, path: &str) -> Result<()> {
    let mut digests = HashSet::new();
    for peer in lan {
        digests.insert(peer.shell(format!("sha256sum {path}")).await?.text());
    }
    assert_eq!(digests.len(), 1, "{digests:?}");
    Ok(())
}

/// From the host to a client, and on to the others.
pub(crate) async fn from_the_host_to_a_client(lan: &Lan, host: &Path) -> Result<()> {
    let [server, client1, client2] = lan;
    let lines = (1..=2000).map(|number| format!("line {number} of the report\n"));
    let report = lines.collect::<Vec<_>>().concat();
    let file = write(host, "report", report.as_bytes());
    client1.upload(file, "/tmp/report").await?;
    client2
        .run(
            "(mosquitto_sub -L mqtt://client2:two@server/files/report -i client2-report -C 1 -N \
             > /tmp/report.part && mv /tmp/report.part /tmp/report) > /dev/null 2>&1 &",
        )
        .await?;
    server
        .run(
            "(mosquitto_sub -L mqtt://admin:root@localhost/files/report -i server-report -C 1 -N \
             > /tmp/report.part && mv /tmp/report.part /tmp/report) > /dev/null 2>&1 &",
        )
        .await?;
    server
        .wait_until_succeeds(format!(
            "test $(grep -c 'Sending SUBACK to .*-report$' {LOG}) = 2"
        ))
        .await?;
    client1.publish("files/report -q 1 -f /tmp/report").await?;
    client2.wait_for_file("/tmp/report").await?;
    server.wait_for_file("/tmp/report").await?;
    are_equal(lan, "/tmp/report").await?;
    assert_eq!(client2.read("/tmp/report", host).await?, report.as_bytes());
    assert_eq!(server.read("/tmp/report", host).await?, report.as_bytes());
    Ok(())
}

/// From the host to the server, and on to the clients.
pub(crate) async fn from_the_host_to_the_server(lan: &Lan, host: &Path) -> Result<()> {
    let [server, client1, client2] = lan;
    let noise: Vec<u8> = (0..32768_u32)
        .map(|number| (number * number % 251).to_le_bytes()[0])
        .collect();
    let file = write(host, "noise", &noise);
    server.upload(file, "/tmp/noise").await?;
    server.publish("files/noise -q 1 -r -f /tmp/noise").await?;
    client1
        .hears("files/noise -C 1 -N > /tmp/noise", "")
        .await?;
    client2
        .hears("files/noise -C 1 -N > /tmp/noise", "")
        .await?;
    are_equal(lan, "/tmp/noise").await?;
    assert_eq!(client1.read("/tmp/noise", host).await?, noise);
    server.publish("files/noise -q 1 -r -n").await
}

/// From a client to the other, and on to the host.
pub(crate) async fn from_a_client_to_the_host(
    [server, client1, client2]: &Lan,
    host: &Path,
) -> Result<()> {
    client2.run("seq 1 5000 > /tmp/numbers").await?;
    client1
        .run(
            "(mosquitto_sub -L mqtt://client1:one@server/files/numbers -i client1-numbers -C 1 -N \
             > /tmp/numbers.part && mv /tmp/numbers.part /tmp/numbers) > /dev/null 2>&1 &",
        )
        .await?;
    server
        .wait_until_succeeds(format!(
            "grep -q 'Sending SUBACK to client1-numbers$' {LOG}"
        ))
        .await?;
    client2
        .publish("files/numbers -q 1 -f /tmp/numbers")
        .await?;
    client1.wait_for_file("/tmp/numbers").await?;
    let lines = (1..=5000).map(|number| format!("{number}\n"));
    let numbers = lines.collect::<Vec<_>>().concat();
    assert_eq!(
        client1.read("/tmp/numbers", host).await?,
        numbers.as_bytes()
    );
    Ok(())
}
