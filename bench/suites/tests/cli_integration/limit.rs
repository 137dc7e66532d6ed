//! Only so many connections are let in, and only so much in one message.

use attest::Result;

use crate::lan::{LOG, Lan};

/// Only so many new connections.
pub(crate) async fn few_connections([server, client1, client2]: &Lan) -> Result<()> {
    server.run("nft -c -f /etc/broker/limit.nft").await?;
    server.run("nft -f /etc/broker/limit.nft").await?;
    client1.publish("news/limit -m 1").await?;
    client1.publish("news/limit -m 2").await?;
    client1.publish("news/limit -m 3").await?;
    client1.publish_fails("news/limit -m 4").await?;
    client2.publish_fails("news/limit -m 5").await?;
    server
        .run("nft list chain inet doors input | grep 'counter packets [1-9]'")
        .await?;
    client2.wait_for_closed_port(1883).host("server").await?;
    Ok(())
}

/// Who is connected stays so.
pub(crate) async fn connected_stay_so([server, _, client2]: &Lan) -> Result<()> {
    server.publish("news/limit -m 'still here'").await?;
    client2.sees("news", "news/limit still here").await?;
    client2
        .says("grep -c '^news/limit [1-5]$' /tmp/news", "3\n")
        .await
}

/// It is lifted.
pub(crate) async fn lifted([server, client1, client2]: &Lan) -> Result<()> {
    server.run("nft delete table inet doors").await?;
    server.fail("nft list table inet doors").await?;
    client2.wait_for_port(1883).host("server").await?;
    client1.publish("news/limit -m 6").await?;
    client2.sees("news", "news/limit 6").await
}

/// Only so much in one message.
pub(crate) async fn small_messages([server, client1, client2]: &Lan) -> Result<()> {
    client1.run("seq 1 600 > /tmp/large").await?;
    client1.publish("news/large -q 1 -f /tmp/large").await?;
    client2.sees("news", "news/large 1").await?;
    server
        .run("cp /etc/broker/limits.conf /etc/mosquitto/conf.d/limits.conf")
        .await?;
    server.run("systemctl reload mosquitto").await?;
    let refused = "mosquitto_pub -V 5 -L mqtt://client1:one@server/exchange/large -q 1 -f /tmp/large \
             2>&1 | grep 'Packet too large'";
    client1.wait_until_succeeds(refused).await?;
    client1.publish("news/large -q 1 -f /tmp/large").await?;
    client1.publish("news/small -q 1 -m small").await?;
    client2.sees("news", "news/small small").await?;
    client2
        .says("grep -c '^news/large ' /tmp/news", "1\n")
        .await?;
    server
        .run(&format!(
            "grep -q \"Dropped too large PUBLISH.*'news/large'\" {LOG}"
        ))
        .await?;
    server.run("rm /etc/mosquitto/conf.d/limits.conf").await?;
    server.run("systemctl reload mosquitto").await?;
    client1.wait_until_fails(refused).await?;
    client1.publish("news/large -q 1 -f /tmp/large").await?;
    client2
        .wait_until_succeeds("test $(grep -c '^news/large ' /tmp/news) = 2")
        .await?;
    Ok(())
}
