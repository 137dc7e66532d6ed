//! Memory that is taken back from machines.

use std::sync::Arc;

use attest::Machine;
use bytes::Bytes;

use crate::error::RpcError;
use crate::session::Session;
use crate::types::{BalloonInfo, Inflate, Nothing};

pub(crate) async fn inflate(
    _: Arc<Session>,
    machine: Machine,
    Inflate { bytes }: Inflate,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    machine.balloon(bytes).await?;
    Ok(Nothing {})
}

pub(crate) async fn statistics(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Vec<Bytes>,
) -> Result<BalloonInfo, RpcError> {
    Ok(machine.balloon_statistics().await?.into())
}
