//! Short ways to start machines on a fake Firecracker.

use std::path::Path;

use attest_vmm::{Firecracker as Backed, Started};

pub(crate) use crate::common::fate::{Fate, When};
use crate::common::host;
pub(crate) use crate::common::host::{MEMORY, alone};
pub(crate) use crate::common::program::{Fakes, names_in};
pub(crate) use crate::common::session::{Session, chain, end, listener};
pub(crate) use crate::fake::{Firecracker, Full, Version};

pub(crate) type Host = host::Host<Firecracker, Backed>;

impl Host {
    pub(crate) fn new(fake: Firecracker) -> Self {
        let version = fake.version;
        Self::that_says(version, fake)
    }

    /// Whose Firecracker says that it is of this version.
    pub(crate) fn that_says((major, minor, patch): Version, fake: Firecracker) -> Self {
        let format = fake.snapshot_format();
        let script = format!(
            "#!/bin/sh\ncase $1 in --version) echo 'Firecracker v{major}.{minor}.{patch}';; *) echo 'v{format}.0.0';; esac\n"
        );
        Self::with(fake, &script, |program, memo| {
            let backend = Backed::of(program, Path::new("/nonexistent/jailer"), memo);
            // One that is too old says so at each start.
            let _ = backend.found();
            backend
        })
    }
}

/// Start the default machine on such a host.
pub(crate) async fn started(fake: Firecracker) -> (Host, Started) {
    let host = Host::new(fake);
    let started = host.start(host.machine()).await.unwrap();
    (host, started)
}
