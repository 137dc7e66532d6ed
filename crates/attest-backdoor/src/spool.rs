//! Bytes for the guest, in a file of its own: appended in pieces, between which others have their turn.

use std::time::Duration;

use attest_protocol::message::{Failure, FailureCode};

use crate::failure::failure;
use crate::guest::{Guest, SMALL};
use crate::quote::quote;
use crate::script::fed;

/// Bytes of one piece: what keeps others waiting, against a program started for each.
const PIECE: usize = 512 * 1024;
/// How long a piece may take: a megabyte through a virtual console under TCG takes seconds.
const STEP: Duration = Duration::from_mins(5);

/// A file that grows.
pub(crate) struct Spool<'a> {
    guest: &'a Guest,
    pub(crate) file: Vec<u8>,
    piece: Vec<u8>,
}

impl<'a> Spool<'a> {
    /// Onto this file.
    pub(crate) fn new(guest: &'a Guest, file: Vec<u8>) -> Self {
        Self {
            guest,
            file,
            piece: Vec::new(),
        }
    }

    /// In a new file that only root may read.
    pub(crate) async fn temporary(guest: &'a Guest) -> Result<Self, Failure> {
        let made = guest.demand(b"mktemp 2>&1", "making a file", STEP).await?;
        Ok(Self::new(guest, made.trim_ascii().to_vec()))
    }

    /// Append.
    pub(crate) async fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush().await?;
        }
        Ok(())
    }

    /// Have all of it in the file.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let script = [b"cat >>".as_slice(), &quote(&self.file), b" 2>&1"].concat();
        let line = fed(&script, &self.piece, "a piece of a file", STEP);
        let (status, said) = self.guest.shell.capture(line, SMALL).await?;
        self.piece.clear();
        if status == 0 {
            Ok(())
        } else {
            Err(refused(&self.file, status, &said))
        }
    }

    /// Take it away.
    pub(crate) async fn remove(self) {
        let script = [b"rm -rf -- ".as_slice(), &quote(&self.file)].concat();
        // Why it is not wanted any more says more than this could.
        let _ = self.guest.ask(&script, "cleaning up", STEP).await;
    }
}

/// What a program of the guest's complained about.
pub(crate) fn refused(path: &[u8], status: i32, said: &[u8]) -> Failure {
    let path = String::from_utf8_lossy(path);
    let said = String::from_utf8_lossy(said);
    let code = match &*said {
        said if status == 127 && said.contains("tar") => FailureCode::Unsupported,
        said if said.contains("No space left") => FailureCode::NoSpace,
        said if said.contains("Permission denied") => FailureCode::Denied,
        said if said.contains("No such file") => FailureCode::NotFound,
        _ => FailureCode::Os,
    };
    let said = attest_protocol::one_line(&said);
    failure(
        code,
        format!("{path}: the guest's programs ended with status {status}: {said}"),
    )
}
