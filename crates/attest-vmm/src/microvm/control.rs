//! The one API of a machine.

use serde::Serialize;

use super::api::{Api, ApiError};
use crate::VmmError;

/// A machine's API, with what errors need to tell of it.
#[derive(Debug)]
pub(crate) struct Control {
    /// The machine's.
    pub(crate) name: String,
    /// As people know the VMM.
    pub(crate) vmm: &'static str,
    pub(crate) api: Api,
}

impl Control {
    /// A call failed; `what` is what the VMM did not do.
    pub(crate) fn refused(&self, what: impl Into<String>) -> impl FnOnce(ApiError) -> VmmError {
        refused(&self.name, self.vmm, what)
    }

    /// Tell it one thing; `what` is that, for the error.
    pub(crate) async fn put(
        &self,
        path: &str,
        body: &impl Serialize,
        what: impl Into<String>,
    ) -> Result<(), VmmError> {
        let put = self.api.put(path, body).await;
        put.map_err(self.refused(what))
    }
}

/// The same before there is an API.
pub(crate) fn refused(
    machine: &str,
    vmm: &'static str,
    what: impl Into<String>,
) -> impl FnOnce(ApiError) -> VmmError {
    let (machine, what) = (machine.to_owned(), what.into());
    move |source| VmmError::Api {
        machine,
        vmm,
        what,
        source,
    }
}
