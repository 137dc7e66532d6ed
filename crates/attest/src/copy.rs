//! Copies of files and trees, both ways, as tar streams over the link.

use std::future::IntoFuture;
use std::path::{Path, PathBuf};

use attest_manifest::{FileContent, FilePlan};
use attest_protocol::link::{Channel, Stream};
use attest_protocol::message::{self, Request, Response};
use attest_protocol::tree::{self, TreeError};
use attest_vmm::BoxFuture;

use crate::command::raw;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::runtime::blocking;
use crate::session::Session;

/// A copy from the host into a machine: a file, a symlink or a tree, with modes, times, links
/// and holes. Gives the bytes of file contents.
#[must_use = "a copy does nothing until it is awaited or run"]
#[derive(Debug)]
pub struct Upload {
    pub(crate) machine: Machine,
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

/// A copy from a machine to the host, as [`Upload`] the other way.
#[must_use = "a copy does nothing until it is awaited or run"]
#[derive(Debug)]
pub struct Download {
    pub(crate) machine: Machine,
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

impl IntoFuture for Upload {
    type Output = Result<u64>;
    type IntoFuture = BoxFuture<'static, Result<u64>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let subject = format!("{} to {}", self.from.display(), self.to.display());
            let session = self.machine.session();
            let copying = self.machine.operation("upload", &subject, |_| async {
                let channel = session.open(&upload_request(&self.to)).await?;
                upload(session, channel, Source::Path(self.from.clone())).await
            });
            copying.await
        })
    }
}

impl IntoFuture for Download {
    type Output = Result<u64>;
    type IntoFuture = BoxFuture<'static, Result<u64>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let subject = format!("{} to {}", self.from.display(), self.to.display());
            let copying = self.machine.operation("download", &subject, |_| async {
                download(self.machine.session(), &self.from, self.to.clone()).await
            });
            copying.await
        })
    }
}

pub(crate) fn upload_request(to: &Path) -> Request {
    Request::Upload(message::Upload {
        path: raw(to.as_os_str()),
    })
}

/// What an upload sends.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file or tree of the host.
    Path(PathBuf),
    /// One file, made up.
    Bytes { contents: Vec<u8>, mode: u32 },
}

impl Source {
    /// A file that the manifest declares. A mode given there counts for a single file; trees
    /// keep theirs.
    pub(crate) fn of(file: &FilePlan) -> Self {
        match &file.content {
            FileContent::Text(text) => Self::Bytes {
                contents: text.clone().into_bytes(),
                mode: file.mode.unwrap_or(DEFAULT_MODE),
            },
            FileContent::Source(path) => match (file.mode, std::fs::read(path)) {
                (Some(mode), Ok(contents)) => Self::Bytes { contents, mode },
                _ => Self::Path(path.clone()),
            },
        }
    }

    fn pack(&self, writer: impl std::io::Write) -> Result<u64, TreeError> {
        match self {
            Self::Path(path) => tree::pack(path, writer),
            Self::Bytes { contents, mode } => tree::pack_bytes(contents, *mode, writer),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Bytes { .. } => PathBuf::from("a file of the manifest"),
        }
    }
}

/// Mode of files whose manifest gives none.
const DEFAULT_MODE: u32 = 0o644;

/// Send `from` over an open upload channel.
pub(crate) async fn upload(session: &Session, mut channel: Channel, from: Source) -> Result<u64> {
    let writer = channel.sender.blocking_writer(Stream::In);
    let sender = channel.sender.clone();
    let path = from.path();
    let packing = tokio::task::spawn_blocking(move || {
        let packed = from.pack(writer);
        match packed {
            Ok(_) => drop(sender.eof(Stream::In)),
            // Without its end the agent would wait for ever for the rest of the tree.
            Err(_) => sender.cancel(),
        }
        packed
    });
    let answer = session.result(&mut channel, "upload").await;
    let packed = packing.await.expect("packing does not panic");
    match (answer, packed) {
        (Ok(Response::Copied(bytes)), _) => Ok(bytes),
        (_, Err(source)) if !source.is_stream() => Err(failed(session, path, source)),
        (Err(error), _) => Err(error),
        (Ok(_), _) => Err(session.unexpected("upload")),
    }
}

async fn download(session: &Session, from: &Path, to: PathBuf) -> Result<u64> {
    let request = Request::Download(message::Download {
        path: raw(from.as_os_str()),
    });
    let Channel { sender, receiver } = session.open(&request).await?;
    let (reader, finished) = receiver.into_blocking_reader(Stream::Out);
    let path = to.clone();
    let unpacked = blocking(move || tree::unpack(reader, &path)).await;
    if unpacked.is_err() {
        sender.cancel();
    }
    let answer = match finished.result().await {
        Ok(result) => result.map_err(|failure| session.failure("download", failure)),
        Err(error) => Err(session.lost(error).await),
    };
    match (answer, unpacked) {
        (Ok(_), Ok(bytes)) => Ok(bytes),
        (Err(error @ (Error::Guest { .. } | Error::MachineEnded { .. })), _) => Err(error),
        (_, Err(source)) => Err(failed(session, to, source)),
        (Err(error), _) => Err(error),
    }
}

fn failed(session: &Session, path: PathBuf, source: TreeError) -> Error {
    Error::Copy {
        machine: session.machine.clone(),
        path,
        source,
    }
}
