//! Files of units: enabling, masking, reading them anew.

use crate::error::{Error, Lost};
use crate::manager::Manager;
use crate::name::file_name;
use crate::units::{entries, texts};
use crate::value::Value;

/// A link that was made or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// `symlink` or `unlink`; others are notes, as `masked`.
    pub kind: String,
    /// The link.
    pub path: String,
    /// Where it leads.
    pub target: String,
}

impl Manager {
    /// Have units started at boot, as their files' `[Install]` says; then all units are read
    /// anew, as `systemctl enable` does.
    pub async fn enable(&self, units: &[&str]) -> Result<Vec<FileChange>, Error> {
        let forced = [Value::Bool(false), Value::Bool(true)];
        self.change_files("EnableUnitFiles", "asbb", units, &forced)
            .await
    }

    /// Have units no longer started at boot. As [`Manager::enable`].
    pub async fn disable(&self, units: &[&str]) -> Result<Vec<FileChange>, Error> {
        self.change_files("DisableUnitFiles", "asb", units, &[Value::Bool(false)])
            .await
    }

    /// Have units never started, not even by hand; what runs goes on. As [`Manager::enable`].
    pub async fn mask(&self, units: &[&str]) -> Result<Vec<FileChange>, Error> {
        let forced = [Value::Bool(false), Value::Bool(true)];
        self.change_files("MaskUnitFiles", "asbb", units, &forced)
            .await
    }

    /// Undo [`Manager::mask`].
    pub async fn unmask(&self, units: &[&str]) -> Result<Vec<FileChange>, Error> {
        self.change_files("UnmaskUnitFiles", "asb", units, &[Value::Bool(false)])
            .await
    }

    /// Read all units' files anew. It returns when they are read.
    pub async fn daemon_reload(&self) -> Result<(), Error> {
        self.call("Reload", "", &[]).await.map(drop)
    }

    /// Let systemd execute itself anew. It returns when the old one has let go of the
    /// connection; the next use of this manager connects to the new one, if it can.
    pub async fn daemon_reexec(&self) -> Result<(), Error> {
        match self.call("Reexecute", "", &[]).await {
            // There is no answer: the connection ends.
            Ok(_) | Err(Error::Lost(Lost::Closed)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The target that the system boots to.
    pub async fn default_target(&self) -> Result<String, Error> {
        const METHOD: &str = "GetDefaultTarget";
        let reply = self.call(METHOD, "", &[]).await?;
        let target = reply.values.first().and_then(Value::as_str);
        target.map(str::to_owned).ok_or(Error::answer(METHOD))
    }

    async fn change_files(
        &self,
        method: &'static str,
        signature: &str,
        units: &[&str],
        how: &[Value],
    ) -> Result<Vec<FileChange>, Error> {
        let names: Vec<String> = units
            .iter()
            .map(|unit| file_name(unit))
            .collect::<Result<_, _>>()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut arguments = vec![texts(&names)];
        arguments.extend_from_slice(how);
        let link = self.link().await?;
        let reply = match link.call(method, signature, &arguments).await {
            Ok(reply) => reply,
            Err(Error::Call { name, message, .. }) if is_missing(&name) => {
                // systemd's words name the one of them that is missing.
                let missing = names.iter().find(|name| message.contains(*name));
                return Err(link
                    .not_found(missing.unwrap_or(&names[0]).to_string())
                    .await);
            }
            Err(error) => return Err(error),
        };
        let changes = entries(method, &reply, change)?;
        self.daemon_reload().await?;
        Ok(changes)
    }
}

fn is_missing(error: &str) -> bool {
    matches!(
        error,
        "org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.DBus.Error.FileNotFound"
    )
}

fn change(fields: &[Value]) -> Option<FileChange> {
    let text = |at: usize| Some(fields.get(at)?.as_str()?.to_owned());
    Some(FileChange {
        kind: text(0)?,
        path: text(1)?,
        target: text(2)?,
    })
}
