//! The sockets with names between attest and a start script's QEMU.

use std::fs;
use std::io;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use super::command::Paths;
use crate::VmmError;

/// Those that QEMU connects to, before it does.
pub(super) struct Sockets {
    monitor: UnixListener,
    shell: UnixListener,
    port: Option<UnixListener>,
}

/// QEMU's connections.
pub(super) struct Connected {
    pub(super) qmp: UnixStream,
    pub(super) monitor: UnixStream,
    pub(super) shell: UnixStream,
    pub(super) port: Option<UnixStream>,
}

impl Sockets {
    /// Listen in the state directory. What a start before left there is gone.
    pub(super) fn listen(machine: &str, paths: &Paths) -> Result<Self, VmmError> {
        let failed = |path: &Path| {
            let (machine, path) = (machine.to_owned(), path.to_owned());
            move |source| VmmError::Socket {
                machine,
                path,
                source,
            }
        };
        let listen = |path: &Path| {
            clear(path)
                .and_then(|()| UnixListener::bind(path))
                .map_err(failed(path))
        };
        clear(&paths.qmp).map_err(failed(&paths.qmp))?;
        Ok(Self {
            monitor: listen(&paths.monitor)?,
            shell: listen(&paths.shell)?,
            port: paths.port.as_deref().map(listen).transpose()?,
        })
    }

    /// Wait for QEMU. It makes its sockets in the order of its command line, so its own is there when
    /// it has connected to the next.
    pub(super) async fn accept(self, paths: &Paths) -> io::Result<Connected> {
        let (monitor, _) = self.monitor.accept().await?;
        let (shell, _) = self.shell.accept().await?;
        let port = match &self.port {
            Some(port) => Some(port.accept().await?.0),
            None => None,
        };
        Ok(Connected {
            qmp: UnixStream::connect(&paths.qmp).await?,
            monitor,
            shell,
            port,
        })
    }
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
