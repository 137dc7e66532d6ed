//! What a client sends.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::WireError;

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// It wants an answer.
    Call(Call),
    /// It does not.
    Notification(Notification),
}

/// A call with its number.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) method: String,
    pub(crate) params: Map<String, Value>,
    pub(crate) attachments: Vec<Bytes>,
}

/// Something that a client says.
#[derive(Debug, PartialEq)]
pub(crate) struct Notification {
    pub(crate) method: String,
    pub(crate) params: Map<String, Value>,
}

/// As it stands on the line.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    jsonrpc: String,
    #[serde(default)]
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Option<Value>,
    /// Bytes that follow the line, in pieces.
    #[serde(default)]
    pub(super) attachments: Vec<u64>,
}

impl Line {
    pub(super) fn read(line: &[u8]) -> Result<Self, WireError> {
        let value: Value =
            serde_json::from_slice(line).map_err(|error| WireError::Json(error.to_string()))?;
        let line: Self = serde_json::from_value(value).map_err(|_| {
            WireError::Shape("it needs `jsonrpc`, `method`, and no members of other types")
        })?;
        if line.jsonrpc != "2.0" {
            return Err(WireError::Shape("`jsonrpc` is not \"2.0\""));
        }
        Ok(line)
    }

    pub(super) fn with(self, attachments: Vec<Bytes>) -> Result<Incoming, WireError> {
        let params = match self.params {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(WireError::Shape("`params` is not an object")),
        };
        let method = self.method;
        Ok(match self.id {
            None => Incoming::Notification(Notification { method, params }),
            Some(id) => Incoming::Call(Call {
                id: id
                    .as_u64()
                    .ok_or(WireError::Shape("`id` is not a non-negative integer"))?,
                method,
                params,
                attachments,
            }),
        })
    }
}
