//! Looking at units and jobs.

use crate::dbus::Reply;
use crate::error::Error;
use crate::manager::{Link, Manager};
use crate::name::{object_path, unit_name};
use crate::near::near;
use crate::properties::Properties;
use crate::state::{ActiveState, LoadState};
use crate::status::UnitStatus;
use crate::value::Value;

/// A unit, as `systemctl list-units` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitEntry {
    /// Its name.
    pub unit: String,
    /// For people.
    pub description: String,
    /// Whether its configuration is known.
    pub load: LoadState,
    /// What it does.
    pub active: ActiveState,
    /// The same in the words of its type, as `running`, `exited`, `mounted`.
    pub sub: String,
    /// The number of its job, if it has one.
    pub job: Option<u32>,
}

/// A job, as `systemctl list-jobs` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEntry {
    /// Its number.
    pub id: u32,
    /// The unit that it is for.
    pub unit: String,
    /// `start`, `stop`, `restart`, ….
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

impl Manager {
    /// All properties of a unit, of all its interfaces and of one instant. The name is
    /// completed as `systemctl` completes it.
    ///
    /// Error: [`Error::UnitNotFound`] when there is neither a file for it nor a unit.
    pub async fn unit_properties(&self, unit: &str) -> Result<Properties, Error> {
        let unit = unit_name(unit)?;
        let link = self.link().await?;
        let (_, properties) = link.unit(&unit, "").await?;
        let status = UnitStatus::new(&properties);
        if status.load == LoadState::NotFound && status.active == ActiveState::Inactive {
            return Err(link.not_found(unit).await);
        }
        Ok(properties)
    }

    /// One property of a unit.
    ///
    /// Errors: [`Error::UnitNotFound`]; [`Error::NoProperty`] with the names that look like it.
    pub async fn unit_property(&self, unit: &str, name: &str) -> Result<Value, Error> {
        // One call for all costs little more than one for one, whose interface is not known.
        self.unit_properties(unit).await?.value(name).cloned()
    }

    /// One property of a unit as `systemctl show --property=NAME --value` prints it. Errors as
    /// of [`Manager::unit_property`].
    pub async fn unit_text(&self, unit: &str, name: &str) -> Result<String, Error> {
        self.unit_properties(unit).await?.text(name)
    }

    /// What is worth knowing of a unit's state, in short.
    ///
    /// Error: [`Error::UnitNotFound`].
    pub async fn unit_status(&self, unit: &str) -> Result<UnitStatus, Error> {
        Ok(UnitStatus::new(&self.unit_properties(unit).await?))
    }

    /// All loaded units whose names match one of these patterns of a shell, or all when there
    /// is none.
    pub async fn list_units(&self, patterns: &[&str]) -> Result<Vec<UnitEntry>, Error> {
        let (_, entries) = self.link().await?.list_units(&[], patterns).await?;
        Ok(entries)
    }

    /// All units that have failed.
    pub async fn failed_units(&self) -> Result<Vec<UnitEntry>, Error> {
        let (_, entries) = self.link().await?.list_units(&["failed"], &[]).await?;
        Ok(entries)
    }

    /// All jobs that are queued or run.
    pub async fn list_jobs(&self) -> Result<Vec<JobEntry>, Error> {
        let (_, entries) = self.link().await?.list_jobs().await?;
        Ok(entries)
    }
}

impl Link {
    /// Properties of a unit, which is loaded for it.
    pub(crate) async fn unit(
        &self,
        unit: &str,
        interface: &str,
    ) -> Result<(u64, Properties), Error> {
        self.properties(unit, &object_path(unit), interface).await
    }

    /// Loaded units in one of these states that match one of these patterns; all where there
    /// are none. Nothing is loaded for it.
    pub(crate) async fn list_units(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> Result<(u64, Vec<UnitEntry>), Error> {
        const METHOD: &str = "ListUnitsByPatterns";
        let reply = self
            .call(METHOD, "asas", &[texts(states), texts(patterns)])
            .await?;
        let at = reply.at;
        Ok((at, entries(METHOD, &reply, unit_entry)?))
    }

    pub(crate) async fn list_jobs(&self) -> Result<(u64, Vec<JobEntry>), Error> {
        let reply = self.call("ListJobs", "", &[]).await?;
        let at = reply.at;
        Ok((at, entries("ListJobs", &reply, job_entry)?))
    }

    /// The error for a unit that there is not, with the units that look like it.
    pub(crate) async fn not_found(&self, unit: String) -> Error {
        let near = self.near_units(&unit).await;
        Error::UnitNotFound { unit, near }
    }

    /// Units whose names look like this one's, whether they are loaded or only files. An error
    /// beside an error would only hide it.
    pub(crate) async fn near_units(&self, unit: &str) -> Vec<String> {
        let (files, loaded) = tokio::join!(
            self.call("ListUnitFiles", "", &[]),
            self.list_units(&[], &[]),
        );
        let files = files.and_then(|files| entries("ListUnitFiles", &files, file_name));
        let files = files.unwrap_or_default();
        let (_, loaded) = loaded.unwrap_or_default();
        let loaded = loaded
            .iter()
            .filter(|entry| entry.load != LoadState::NotFound);
        let names = loaded.map(|entry| entry.unit.as_str());
        near(unit, names.chain(files.iter().map(String::as_str)))
    }
}

pub(crate) fn texts(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|text| Value::from(*text)).collect())
}

/// The entries of a list that is the last value of an answer.
pub(crate) fn entries<T>(
    method: &'static str,
    reply: &Reply,
    entry: fn(&[Value]) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let list = reply.values.last().and_then(Value::items);
    let entries = list.and_then(|list| list.iter().map(|item| entry(item.items()?)).collect());
    entries.ok_or(Error::answer(method))
}

fn unit_entry(fields: &[Value]) -> Option<UnitEntry> {
    let text = |at: usize| fields.get(at)?.as_str();
    let job = u32::try_from(fields.get(7)?.as_u64()?).ok()?;
    Some(UnitEntry {
        unit: text(0)?.to_owned(),
        description: text(1)?.to_owned(),
        load: LoadState::of(text(2)?),
        active: ActiveState::of(text(3)?),
        sub: text(4)?.to_owned(),
        job: (job != 0).then_some(job),
    })
}

fn job_entry(fields: &[Value]) -> Option<JobEntry> {
    let text = |at: usize| Some(fields.get(at)?.as_str()?.to_owned());
    Some(JobEntry {
        id: u32::try_from(fields.first()?.as_u64()?).ok()?,
        unit: text(1)?,
        kind: text(2)?,
        state: text(3)?,
    })
}

fn file_name(fields: &[Value]) -> Option<String> {
    let path = fields.first()?.as_str()?;
    Some(path.rsplit('/').next()?.to_owned())
}
