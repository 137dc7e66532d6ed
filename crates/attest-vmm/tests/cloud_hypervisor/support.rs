//! Short ways to start machines on a fake Cloud Hypervisor.

use attest_vmm::{CloudHypervisor as Backed, Started};

pub(crate) use crate::common::fate::{Fate, When};
use crate::common::host;
pub(crate) use crate::common::host::MEMORY;
pub(crate) use crate::common::program::names_in;
pub(crate) use crate::common::session::{Session, chain, end, listener};
pub(crate) use crate::fake::CloudHypervisor;

pub(crate) type Host = host::Host<CloudHypervisor, Backed>;

impl Host {
    pub(crate) fn new(fake: CloudHypervisor) -> Self {
        Self::that_says("53.0", fake)
    }

    /// Whose Cloud Hypervisor says that it is of this version.
    pub(crate) fn that_says(version: &str, fake: CloudHypervisor) -> Self {
        let script = format!("#!/bin/sh\necho 'cloud-hypervisor v{version}'\n");
        Self::with(fake, &script, |program, memo| {
            let backend = Backed::of(program, memo);
            // One that is too old says so at each start.
            let _ = backend.found();
            backend
        })
    }
}

/// Start the default machine on such a host.
pub(crate) async fn started(fake: CloudHypervisor) -> (Host, Started) {
    let host = Host::new(fake);
    let started = host.start(host.machine()).await.unwrap();
    (host, started)
}
