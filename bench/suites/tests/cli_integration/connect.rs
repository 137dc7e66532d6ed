//! Both clients subscribe.

use attest::Result;

use crate::lan::{LOG, Lan};

/// Both clients subscribe.
pub(crate) async fn subscribe([server, client1, client2]: &Lan) -> Result<()> {
    client1
        .run(
            "mosquitto_sub -L mqtt://client1:one@server/inbox/client1 -i client1-inbox -c -q 1 -v \
             > /tmp/inbox 2> /tmp/inbox.err & echo $! > /tmp/inbox.pid",
        )
        .await?;
    client1
        .run(
            "mosquitto_sub -L mqtt://client1:one@server/news/# -i client1-news -v \
             > /tmp/news 2> /tmp/news.err &",
        )
        .await?;
    client2
        .run(
            "mosquitto_sub -L mqtt://client2:two@server/inbox/client2 -i client2-inbox -c -q 1 -v \
             > /tmp/inbox 2> /tmp/inbox.err & echo $! > /tmp/inbox.pid",
        )
        .await?;
    client2
        .run(
            "mosquitto_sub -L mqtt://client2:two@server/news/# -i client2-news -v \
             > /tmp/news 2> /tmp/news.err &",
        )
        .await?;
    client2
        .run(
            "mosquitto_sub -L mqtt://client2:two@server/console/# -i client2-console -v \
             > $(ls /dev/ttyS0 2> /dev/null || echo /dev/console) 2>&1 &",
        )
        .await?;
    client2.wait_for_file("/tmp/inbox").await?;
    server
        .wait_until_succeeds(format!(
            "test $(grep -c 'Sending SUBACK to client[12]-' {LOG}) = 5"
        ))
        .await?;
    let connections = "ss -Htn state established 'sport = :1883' | wc -l";
    server.says(connections, "5\n").await
}

/// The server reaches them.
pub(crate) async fn reached([server, client1, client2]: &Lan) -> Result<()> {
    server
        .publish("inbox/client1 -q 1 -m 'welcome, client1'")
        .await?;
    server
        .publish("inbox/client2 -q 1 -m 'welcome, client2'")
        .await?;
    server
        .publish("console/client2 -m 'all are connected'")
        .await?;
    client1
        .sees("inbox", "inbox/client1 welcome, client1")
        .await?;
    client2
        .sees("inbox", "inbox/client2 welcome, client2")
        .await?;
    client2
        .wait_for_console_text("console/client2 all are connected")
        .await?;
    client1.run("kill -0 $(cat /tmp/inbox.pid)").await?;
    client1.run("test ! -s /tmp/inbox.err").await?;
    client2.run("kill -0 $(cat /tmp/inbox.pid)").await?;
    client2.run("test ! -s /tmp/inbox.err").await
}
