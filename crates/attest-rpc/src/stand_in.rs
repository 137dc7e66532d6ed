//! Stands in for the snapshots of [`attest`] until it has them. What it has by these names takes
//! the place of these: methods of its own come before methods of traits, so that this file goes,
//! and its two types are named from `attest` where they are used.

use attest::{Error, Lab, Machine, Result};

/// A saved lab.
#[derive(Debug)]
pub(crate) enum Snapshot {}

/// A saved machine.
#[derive(Debug)]
pub(crate) enum MachineSnapshot {}

/// What can be saved, and put back in its place.
pub(crate) trait Saved {
    type Snapshot;

    async fn snapshot(&self) -> Result<Self::Snapshot>;
    async fn restore(&self, snapshot: &Self::Snapshot) -> Result<()>;
}

/// What one more lab can be made of.
pub(crate) trait Forks {
    async fn fork(&self) -> Result<Lab>;
}

impl Saved for Lab {
    type Snapshot = Snapshot;

    async fn snapshot(&self) -> Result<Snapshot> {
        unsupported(self.machines().first())
    }

    async fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        match *snapshot {}
    }
}

impl Saved for Machine {
    type Snapshot = MachineSnapshot;

    async fn snapshot(&self) -> Result<MachineSnapshot> {
        unsupported(Some(self))
    }

    async fn restore(&self, snapshot: &MachineSnapshot) -> Result<()> {
        match *snapshot {}
    }
}

impl Forks for Lab {
    async fn fork(&self) -> Result<Lab> {
        unsupported(self.machines().first())
    }
}

impl Forks for Snapshot {
    async fn fork(&self) -> Result<Lab> {
        match *self {}
    }
}

/// The one place that says so.
fn unsupported<T>(machine: Option<&Machine>) -> Result<T> {
    Err(Error::Unsupported {
        machine: machine
            .map_or("a lab of no machines", Machine::name)
            .to_owned(),
        backend: machine.map_or("none", |machine| machine.plan().backend.name()),
        ability: "snapshot",
        reason: "this attest saves no machines; boot a fresh lab instead",
    })
}
