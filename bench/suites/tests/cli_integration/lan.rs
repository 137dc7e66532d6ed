//! The machines, and what all chapters do with them.

use std::ops::Deref;
use std::path::Path;

use attest::{Lab, Machine, Result};

/// What the broker says of everything that it does.
pub(crate) const LOG: &str = "/var/log/mosquitto/mosquitto.log";

/// A machine, and how it reaches the broker.
pub(crate) struct Peer {
    machine: Machine,
    broker: &'static str,
}

/// The server, and both clients.
pub(crate) type Lan = [Peer; 3];

pub(crate) fn lan(lab: &Lab) -> Result<Lan> {
    let peer = |name, broker| -> Result<Peer> {
        let machine = lab.machine(name)?;
        Ok(Peer { machine, broker })
    };
    Ok([
        peer("server", "mqtt://admin:root@localhost")?,
        peer("client1", "mqtt://client1:one@server")?,
        peer("client2", "mqtt://client2:two@server")?,
    ])
}

impl Deref for Peer {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Peer {
    /// The command succeeds.
    pub(crate) async fn run(&self, command: &str) -> Result<()> {
        self.shell(command).await.map(drop)
    }

    /// The command fails.
    pub(crate) async fn fail(&self, command: &str) -> Result<()> {
        self.shell(command).expect_failure().await.map(drop)
    }

    /// The command succeeds, and says this and nothing else.
    pub(crate) async fn says(&self, command: &str, answer: &str) -> Result<()> {
        let said = self.shell(command).await?.text();
        assert_eq!(said, answer, "`{command}` on {}", self.name());
        Ok(())
    }

    /// Publish under a topic, with options after it.
    pub(crate) async fn publish(&self, what: &str) -> Result<()> {
        self.run(&format!("mosquitto_pub -L {}/{what}", self.broker))
            .await
    }

    pub(crate) async fn publish_fails(&self, what: &str) -> Result<()> {
        self.fail(&format!("mosquitto_pub -L {}/{what}", self.broker))
            .await
    }

    /// Whoever subscribes to a topic is told this.
    pub(crate) async fn hears(&self, what: &str, answer: &str) -> Result<()> {
        let command = format!("mosquitto_sub -L {}/{what}", self.broker);
        self.says(&command, answer).await
    }

    /// Wait for this line in what a subscriber writes.
    pub(crate) async fn sees(&self, file: &str, line: &str) -> Result<()> {
        let command = format!("grep -qx '{line}' /tmp/{file}");
        self.wait_until_succeeds(command).await.map(drop)
    }

    /// What a file of it is, as copied to the host.
    pub(crate) async fn read(&self, path: &str, host: &Path) -> Result<Vec<u8>> {
        let copy = host.join(format!("copy-of-{}", self.name()));
        self.download(path, &copy).await?;
        Ok(std::fs::read(copy).expect("what was copied can be read"))
    }
}
