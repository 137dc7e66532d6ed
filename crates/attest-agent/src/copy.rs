//! Files and trees, as tar streams.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use attest_protocol::link::{Channel, Stream};
use attest_protocol::message::{Download, Failure, FailureCode, RawBytes, Response, Upload};
use attest_protocol::tree::{self, TreeError};

use crate::failure::{failure, os};

fn path(bytes: &RawBytes) -> Result<PathBuf, Failure> {
    let path = Path::new(OsStr::from_bytes(bytes));
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(failure(
            FailureCode::Invalid,
            format!("{} is no absolute path", path.display()),
        ))
    }
}

fn failed(error: &TreeError) -> Failure {
    match (error.io(), error) {
        (Some(source), _) => os(error.to_string(), source),
        (None, TreeError::Special { .. }) => failure(FailureCode::Unsupported, error.to_string()),
        _ => failure(FailureCode::Invalid, error.to_string()),
    }
}

pub(crate) async fn upload(upload: Upload, channel: Channel) -> Result<Response, Failure> {
    let path = path(&upload.path)?;
    let (reader, _ended) = channel.receiver.into_blocking_reader(Stream::In);
    let unpacked = tokio::task::spawn_blocking(move || tree::unpack(reader, &path)).await;
    match unpacked {
        Ok(Ok(bytes)) => Ok(Response::Copied(bytes)),
        Ok(Err(error)) => Err(failed(&error)),
        Err(panic) => Err(failure(FailureCode::Os, panic.to_string())),
    }
}

pub(crate) async fn download(download: Download, channel: Channel) -> Result<Response, Failure> {
    let path = path(&download.path)?;
    let writer = channel.sender.blocking_writer(Stream::Out);
    let packed = tokio::task::spawn_blocking(move || tree::pack(&path, writer)).await;
    match packed {
        Ok(Ok(bytes)) => {
            // A host that is gone needs no end.
            let _ = channel.sender.eof(Stream::Out);
            Ok(Response::Copied(bytes))
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(panic) => Err(failure(FailureCode::Os, panic.to_string())),
    }
}
