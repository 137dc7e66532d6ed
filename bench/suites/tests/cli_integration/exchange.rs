//! Messages go where they should, and nowhere else.

use attest::Result;

use crate::lan::{LOG, Lan};

/// From one to the other.
pub(crate) async fn from_one_to_the_other([_, client1, client2]: &Lan) -> Result<()> {
    client1.publish("inbox/client2 -m 'hello from 1'").await?;
    client2.sees("inbox", "inbox/client2 hello from 1").await?;
    client2.publish("inbox/client1 -m 'hello from 2'").await?;
    client1.sees("inbox", "inbox/client1 hello from 2").await?;
    client1.fail("grep -q 'hello from 1' /tmp/inbox").await?;
    client2.fail("grep -q 'hello from 2' /tmp/inbox").await
}

/// At least once, and exactly once.
pub(crate) async fn once([_, client1, client2]: &Lan) -> Result<()> {
    client1
        .publish("inbox/client2 -q 1 -m 'at least once'")
        .await?;
    client1
        .publish("inbox/client2 -q 2 -m 'exactly once'")
        .await?;
    client2.sees("inbox", "inbox/client2 exactly once").await?;
    client2
        .run("grep -qx 'inbox/client2 at least once' /tmp/inbox")
        .await?;
    client2
        .says("grep -c 'exactly once' /tmp/inbox", "1\n")
        .await
}

/// Topics with wildcards.
pub(crate) async fn wildcards([server, client1, client2]: &Lan) -> Result<()> {
    client1.publish("news/sport/today -m '3 to 1'").await?;
    client2.sees("news", "news/sport/today 3 to 1").await?;
    client2.publish("news/weather -m rain").await?;
    client1.sees("news", "news/weather rain").await?;
    client1
        .run("grep -qx 'news/sport/today 3 to 1' /tmp/news")
        .await?;
    client2
        .run(
            "mosquitto_sub -L mqtt://client2:two@server/alarm/+/heat -i client2-alarm -C 1 \
             > /tmp/alarm 2>&1 &",
        )
        .await?;
    server
        .wait_until_succeeds(format!("grep -q 'Sending SUBACK to client2-alarm$' {LOG}"))
        .await?;
    client1.publish("alarm/client1/smoke -m 90").await?;
    client1.publish("alarm/client1/heat -m 80").await?;
    client2
        .wait_until_succeeds("grep -qx 80 /tmp/alarm")
        .await?;
    client2.fail("grep -qx 90 /tmp/alarm").await
}

/// What is retained.
pub(crate) async fn retained([server, client1, client2]: &Lan) -> Result<()> {
    client1.publish("exchange/kept -q 1 -r -m first").await?;
    client1.publish("exchange/kept -q 1 -r -m second").await?;
    client2
        .hears(
            "exchange/kept -q 1 -C 1 -F '%t %q %r %p'",
            "exchange/kept 1 1 second\n",
        )
        .await?;
    server.hears("exchange/kept -C 1", "second\n").await?;
    client1.publish("exchange/kept -q 1 -r -n").await?;
    client1.publish("exchange/other -q 1 -r -m other").await?;
    client2
        .hears("exchange/# -C 1 -v", "exchange/other other\n")
        .await
}

/// What is refused.
pub(crate) async fn refused([server, client1, client2]: &Lan) -> Result<()> {
    server.publish("secret/plan -q 1 -r -m hidden").await?;
    client1
        .run(
            "mosquitto_pub -V 5 -L mqtt://client1:one@server/secret/plan -q 1 -r -m changed \
             2>&1 | grep 'Not authorized'",
        )
        .await?;
    client2
        .run(
            "mosquitto_pub -V 5 -L mqtt://client2:two@server/alarm/client1/heat -q 1 -m 99 \
             2>&1 | grep 'Not authorized'",
        )
        .await?;
    client2
        .run(
            "mosquitto_pub -V 5 -L mqtt://auditor:eyes@server/exchange/other -q 1 -m mine \
             2>&1 | grep 'Not authorized'",
        )
        .await?;
    server
        .run(&format!("grep -q \"Denied PUBLISH.*'secret/plan'\" {LOG}"))
        .await?;
    client2
        .says(
            "mosquitto_sub -L mqtt://auditor:eyes@server/secret/# -C 1",
            "hidden\n",
        )
        .await?;
    client1
        .hears("secret/# -t exchange/other -C 1", "other\n")
        .await?;
    server.publish("secret/plan -q 1 -r -n").await
}

/// Many at once.
pub(crate) async fn many_at_once([server, client1, client2]: &Lan) -> Result<()> {
    client1
        .run("seq 1 20 | mosquitto_pub -L mqtt://client1:one@server/news/batch -q 1 -l")
        .await?;
    client2.sees("news", "news/batch 20").await?;
    client2
        .says("grep -c '^news/batch ' /tmp/news", "20\n")
        .await?;
    server.publish("console/client2 -m 'enough said'").await?;
    client2
        .wait_for_console_text("console/client2 enough said")
        .await?;
    Ok(())
}
