//! Saved labs and machines.

use std::sync::Arc;

use attest::Machine;
use bytes::Bytes;

use crate::error::RpcError;
use crate::session::{Session, lab_info};
use crate::snapshots::Kept;
use crate::types::{ForkLab, LabInfo, LabRef, Nothing, RestoreLab, SnapshotInfo, SnapshotRef};

pub(crate) async fn save_lab(
    session: Arc<Session>,
    LabRef { lab }: LabRef,
    _: Vec<Bytes>,
) -> Result<SnapshotInfo, RpcError> {
    let snapshot = session.lab(lab)?.snapshot().await?;
    let id = session.snapshots().keep(Kept::Lab(Arc::new(snapshot)));
    Ok(SnapshotInfo { id })
}

pub(crate) async fn restore_lab(
    session: Arc<Session>,
    RestoreLab { lab, snapshot }: RestoreLab,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    let snapshot = session.snapshots().lab(snapshot)?;
    session.lab(lab)?.restore(&snapshot).await?;
    Ok(Nothing {})
}

pub(crate) async fn fork_lab(
    session: Arc<Session>,
    ForkLab { lab, snapshot }: ForkLab,
    _: Vec<Bytes>,
) -> Result<LabInfo, RpcError> {
    let fork = match snapshot {
        Some(number) => session.snapshots().lab(number)?.fork().await?,
        None => session.lab(lab)?.fork().await?,
    };
    let number = session.add(fork.clone());
    Ok(lab_info(number, &fork))
}

pub(crate) async fn save_machine(
    session: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Vec<Bytes>,
) -> Result<SnapshotInfo, RpcError> {
    let snapshot = machine.snapshot().await?;
    let id = session.snapshots().keep(Kept::Machine(Arc::new(snapshot)));
    Ok(SnapshotInfo { id })
}

pub(crate) async fn restore_machine(
    session: Arc<Session>,
    machine: Machine,
    SnapshotRef { snapshot }: SnapshotRef,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    let snapshot = session.snapshots().machine(snapshot)?;
    machine.restore(&snapshot).await?;
    Ok(Nothing {})
}

pub(crate) async fn forget(
    session: Arc<Session>,
    SnapshotRef { snapshot }: SnapshotRef,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    session.snapshots().take(snapshot)?;
    Ok(Nothing {})
}
