//! The session itself.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::RpcError;
use crate::session::Session;
use crate::types::{Description, Nothing, ScriptEnd};

pub(crate) async fn describe(
    session: Arc<Session>,
    _: Nothing,
    _: Vec<Bytes>,
) -> Result<Description, RpcError> {
    Ok(session.describe())
}

pub(crate) async fn script_ended(
    session: Arc<Session>,
    end: ScriptEnd,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    session.end_script(end);
    Ok(Nothing {})
}

pub(crate) async fn flush(
    session: Arc<Session>,
    _: Nothing,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    session.recorder().read().await;
    Ok(Nothing {})
}

/// The server began to tell when the call arrived.
pub(crate) async fn subscribe(
    _: Arc<Session>,
    _: Nothing,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    Ok(Nothing {})
}
