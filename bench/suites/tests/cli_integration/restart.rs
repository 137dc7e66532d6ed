//! The broker is away, and comes back with what it had; so do its subscribers.

use attest::Result;

use crate::lan::{LOG, Lan};

/// The broker goes.
pub(crate) async fn goes([server, client1, client2]: &Lan) -> Result<()> {
    client1.publish("restart/one -q 1 -r -m 'kept 1'").await?;
    client2.publish("restart/two -q 1 -r -m 'kept 2'").await?;
    server.run("systemctl stop mosquitto").await?;
    server.wait_for_closed_port(1883).await?;
    client1.wait_for_closed_port(1883).host("server").await?;
    server.fail("systemctl is-active --quiet mosquitto").await?;
    server
        .wait_for_file("/var/lib/mosquitto/mosquitto.db")
        .await?;
    server
        .run("grep -q 'kept 1' /var/lib/mosquitto/mosquitto.db")
        .await?;
    client1.publish_fails("restart/one -m lost").await?;
    client1.run("kill -0 $(cat /tmp/inbox.pid)").await?;
    client2.run("kill -0 $(cat /tmp/inbox.pid)").await
}

/// It comes again, with what it had.
pub(crate) async fn comes_again([server, client1, client2]: &Lan) -> Result<()> {
    server.run("systemctl start mosquitto").await?;
    server.wait_for_unit("mosquitto.service").await?;
    server.wait_for_port(1883).await?;
    client2.hears("restart/one -C 1", "kept 1\n").await?;
    client1.hears("restart/two -C 1", "kept 2\n").await
}

/// Subscribers come back by themselves.
pub(crate) async fn come_back([server, client1, client2]: &Lan) -> Result<()> {
    server
        .wait_until_succeeds(format!(
            "test $(grep -Ec 'Sending SUBACK to client[12]-(inbox|news)$' {LOG}) -ge 8"
        ))
        .await?;
    client1.publish("inbox/client2 -q 1 -m 'back, 2?'").await?;
    client2.sees("inbox", "inbox/client2 back, 2?").await?;
    client2.publish("inbox/client1 -q 1 -m 'back, 1?'").await?;
    client1.sees("inbox", "inbox/client1 back, 1?").await
}

/// What was said meanwhile is not lost.
pub(crate) async fn nothing_is_lost([server, client1, client2]: &Lan) -> Result<()> {
    client2.run("kill -KILL $(cat /tmp/inbox.pid)").await?;
    server
        .wait_until_succeeds(format!(
            "grep -Eq 'Client client2-inbox (closed|disconnected)' {LOG}"
        ))
        .await?;
    client1.publish("inbox/client2 -q 1 -m 'missed 1'").await?;
    client1.publish("inbox/client2 -q 1 -m 'missed 2'").await?;
    client2.fail("grep -q missed /tmp/inbox").await?;
    client2
        .run(
            "mosquitto_sub -L mqtt://client2:two@server/inbox/client2 -i client2-inbox -c -q 1 -v \
             > /tmp/again 2> /tmp/again.err & echo $! > /tmp/again.pid",
        )
        .await?;
    client2.sees("again", "inbox/client2 missed 2").await?;
    client2.says("grep -c missed /tmp/again", "2\n").await
}

/// The broker crashes.
pub(crate) async fn crash([server, client1, client2]: &Lan) -> Result<()> {
    server.run("systemctl kill --signal KILL mosquitto").await?;
    server
        .wait_until_succeeds("systemctl show -P NRestarts mosquitto | grep -x 1")
        .await?;
    server.wait_for_unit("mosquitto.service").await?;
    server.wait_for_port(1883).await?;
    server
        .wait_until_succeeds(format!(
            "test $(grep -c 'Sending SUBACK to client1-news$' {LOG}) -ge 3"
        ))
        .await?;
    client2.publish("news/crash -m 'over it'").await?;
    client1.sees("news", "news/crash over it").await
}
