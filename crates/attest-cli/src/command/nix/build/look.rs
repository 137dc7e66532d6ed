//! Looking for outputs, and taking what is in them out of the store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinHandle;

use super::super::interrupts::Interrupts;
use super::program::{Nix, NixError};
use super::result::Collected;
use super::suite::{Kind, Target};

/// Outputs that are copied at once.
const COPIES: usize = 4;

/// Outputs that are there, by the numbers of their targets, with what is in those of shards.
pub(super) type Found = Vec<(usize, Option<Collected>)>;

/// What is looked for.
pub(super) struct Look {
    pub(super) nix: Arc<Nix>,
    pub(super) interrupts: Interrupts,
    pub(super) targets: Vec<(usize, Target)>,
    /// Where copies go.
    pub(super) directory: PathBuf,
}

impl Look {
    /// Those that have an output, and what is in it.
    pub(super) async fn look(self) -> Result<Found, NixError> {
        let outputs = self
            .targets
            .iter()
            .map(|(_, target)| target.output.as_str());
        let outputs: BTreeSet<&str> = outputs.collect();
        let outputs: Vec<&str> = outputs.into_iter().collect();
        let valid = self.nix.valid(&outputs, &self.interrupts).await?;
        let mut copies = Vec::new();
        for (number, target) in self.targets {
            if valid.contains(&target.output) {
                let to = self.directory.join(&target.directory);
                copies.push(copy(Arc::clone(&self.nix), number, target, to));
            }
        }
        stream::iter(copies).buffered(COPIES).try_collect().await
    }
}

async fn copy(
    nix: Arc<Nix>,
    number: usize,
    target: Target,
    to: PathBuf,
) -> Result<(usize, Option<Collected>), NixError> {
    let collected = match target.kind {
        Kind::Shard => Some(Collected::copy(&nix, &target, &to).await?),
        Kind::Whole => None,
    };
    Ok((number, collected))
}

/// A look that goes on beside something else, if there is one.
#[derive(Default)]
pub(super) struct Looking(Option<JoinHandle<Result<Found, NixError>>>);

impl Looking {
    pub(super) fn begin(look: Look) -> Self {
        Self(Some(tokio::spawn(look.look())))
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Its end, after which there is none. Cancel-safe.
    pub(super) async fn end(&mut self) -> Result<Found, NixError> {
        let Some(looking) = &mut self.0 else {
            return Ok(Vec::new());
        };
        let found = looking.await.expect("looking does not panic");
        self.0 = None;
        found
    }
}
