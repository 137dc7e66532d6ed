//! A new broker gets users, and lets nobody else in.

use attest::Result;

use crate::lan::{LOG, Lan};

/// A new broker is there for its own machine only.
pub(crate) async fn alone([server, client1, _]: &Lan) -> Result<()> {
    server.wait_for_port(1883).await?;
    server.run("mosquitto_pub -t create/local -m here").await?;
    client1
        .fail("mosquitto_pub -h server -t create/remote -m here")
        .await
}

/// Users, and what they may do.
pub(crate) async fn users([server, client1, _]: &Lan) -> Result<()> {
    server
        .run("mosquitto_passwd -c -b /etc/mosquitto/passwd admin root")
        .await?;
    server
        .run("mosquitto_passwd -b /etc/mosquitto/passwd client1 one")
        .await?;
    server
        .run("mosquitto_passwd -b /etc/mosquitto/passwd client2 two")
        .await?;
    server
        .run("mosquitto_passwd -b /etc/mosquitto/passwd guest nobody")
        .await?;
    server.run("chown mosquitto /etc/mosquitto/passwd").await?;
    server
        .says("grep -c : /etc/mosquitto/passwd", "4\n")
        .await?;
    server.fail("grep -q ':one$' /etc/mosquitto/passwd").await?;
    server
        .run("install -o mosquitto -m 0600 /etc/broker/acl /etc/mosquitto/acl")
        .await?;
    server
        .run("cp /etc/broker/broker.conf /etc/mosquitto/conf.d/broker.conf")
        .await?;
    server.run("systemctl restart mosquitto").await?;
    server.wait_for_unit("mosquitto.service").await?;
    server.wait_for_port(1883).await?;
    client1.wait_for_port(1883).host("server").await?;
    Ok(())
}

/// Whoever is known is let in, and nobody else.
pub(crate) async fn known([_, client1, client2]: &Lan) -> Result<()> {
    client1
        .fail("mosquitto_pub -h server -t news/create -m anonymous")
        .await?;
    client1
        .fail("mosquitto_pub -L mqtt://client1:two@server/news/create -m mistaken")
        .await?;
    client1.publish("news/create -m known").await?;
    client2.publish("news/create -m known").await?;
    client2
        .run("mosquitto_pub -L mqtt://guest:nobody@server/news/create -m known")
        .await
}

/// Users go and come while the broker runs.
pub(crate) async fn coming_and_going([server, client1, client2]: &Lan) -> Result<()> {
    server
        .run("mosquitto_passwd -D /etc/mosquitto/passwd guest")
        .await?;
    server.run("systemctl reload mosquitto").await?;
    client2
        .wait_until_fails("mosquitto_pub -L mqtt://guest:nobody@server/news/create -m gone")
        .await?;
    client1
        .fail("mosquitto_pub -L mqtt://auditor:eyes@server/news/create -m early")
        .await?;
    server
        .run("mosquitto_passwd -b /etc/mosquitto/passwd auditor eyes")
        .await?;
    server.run("systemctl reload mosquitto").await?;
    client1
        .wait_until_succeeds("mosquitto_pub -L mqtt://auditor:eyes@server/news/create -m new")
        .await?;
    server
        .says(&format!("grep -c 'Reloading config' {LOG}"), "2\n")
        .await
}
