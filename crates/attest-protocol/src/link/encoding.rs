//! Messages as payloads.

use minicbor::{Decode, Encode};

use super::session::LinkError;
use crate::frame::MAX_PAYLOAD;
use crate::message::{Failure, FailureCode, Response};

pub(super) fn encode<T: Encode<()>>(message: &T) -> Result<Vec<u8>, LinkError> {
    let bytes = minicbor::to_vec(message).expect("encoding into memory cannot fail");
    if bytes.len() > MAX_PAYLOAD {
        Err(LinkError::TooLong(bytes.len()))
    } else {
        Ok(bytes)
    }
}

pub(super) fn decode<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T, LinkError> {
    minicbor::decode(bytes)
        .map_err(|error| LinkError::Protocol(format!("a message that cannot be read: {error}")))
}

/// A result on the wire.
#[derive(Debug, Encode, Decode)]
enum Answer {
    #[n(0)]
    Well(#[n(0)] Response),
    #[n(1)]
    Badly(#[n(0)] Failure),
}

/// As [`encode`]; a response that does not fit becomes a failure that says so.
pub(super) fn encode_result(result: &Result<Response, Failure>) -> Result<Vec<u8>, LinkError> {
    let encoded = match result {
        Ok(response) => encode(&Answer::Well(response.clone())),
        Err(failure) => encode(&Answer::Badly(failure.clone())),
    };
    match encoded {
        Err(LinkError::TooLong(length)) => encode(&Answer::Badly(Failure {
            code: FailureCode::Os,
            message: format!("the answer has {length} bytes and does not fit into a frame"),
            last_seen: None,
        })),
        other => other,
    }
}

pub(super) fn decode_result(bytes: &[u8]) -> Result<Result<Response, Failure>, LinkError> {
    Ok(match decode(bytes)? {
        Answer::Well(response) => Ok(response),
        Answer::Badly(failure) => Err(failure),
    })
}
