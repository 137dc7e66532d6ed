//! Labs.

use std::sync::Arc;

use attest::manifest::{Backend, Manifest};
use attest::run::{OutputDirectory, Overrides};
use attest::scripts::{ScriptKind, ScriptMachine};
use attest::{Error, Lab, LabContext, SnapshotUse};
use bytes::Bytes;

use crate::error::RpcError;
use crate::session::{Session, lab_info, machine_info};
use crate::types::{CreateMachine, LabInfo, LabRef, MachineInfo, Nothing, OpenLab, SetEnvironment};

pub(crate) async fn open(
    session: Arc<Session>,
    asked: OpenLab,
    _: Vec<Bytes>,
) -> Result<LabInfo, RpcError> {
    let mut plan = Manifest::load(&asked.manifest)
        .map_err(Error::from)?
        .plan()
        .map_err(Error::from)?;
    let backend = asked.backend.as_deref().map(backend).transpose()?;
    Overrides {
        backend,
        ..Overrides::default()
    }
    .apply(&mut plan);
    let output = match &asked.output {
        Some(path) => OutputDirectory::create(path)?,
        None => OutputDirectory::create_default()?,
    };
    let context = LabContext {
        recorder: session.recorder().clone(),
        output: output.into_path(),
        cache: None,
        snapshots: asked
            .snapshots
            .as_deref()
            .map_or(Ok(SnapshotUse::default()), snapshots)?,
    };
    // One that is given up over this ends with the call.
    let lab = if asked.start {
        Lab::boot(plan, Some(context)).await?
    } else {
        Lab::create(plan, context).await?
    };
    let number = session.add(lab.clone());
    Ok(lab_info(number, &lab))
}

fn snapshots(name: &str) -> Result<SnapshotUse, RpcError> {
    name.parse()
        .map_err(|error| RpcError::usage(format!("`snapshots`: {error}")))
}

fn backend(name: &str) -> Result<Backend, RpcError> {
    serde_json::from_value(name.into())
        .map_err(|error| RpcError::usage(format!("`backend`: {error}")))
}

pub(crate) async fn start(
    session: Arc<Session>,
    LabRef { lab }: LabRef,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    session.lab(lab)?.start_all().await?;
    Ok(Nothing {})
}

pub(crate) async fn close(
    session: Arc<Session>,
    LabRef { lab }: LabRef,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    session.take_lab(lab)?.shutdown().await;
    Ok(Nothing {})
}

pub(crate) async fn environment(
    session: Arc<Session>,
    SetEnvironment { lab, environment }: SetEnvironment,
    _: Vec<Bytes>,
) -> Result<Nothing, RpcError> {
    let environment = environment.into_iter();
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    session.lab(lab)?.set_environment(environment.collect())?;
    Ok(Nothing {})
}

pub(crate) async fn create_machine(
    session: Arc<Session>,
    asked: CreateMachine,
    _: Vec<Bytes>,
) -> Result<MachineInfo, RpcError> {
    let lab = session.lab(asked.lab)?;
    let machine = ScriptMachine {
        name: asked
            .name
            .unwrap_or_else(|| ScriptKind::Vm.name_in(&asked.start_command)),
        command: asked.start_command,
        kind: ScriptKind::Vm,
    };
    let machine = lab.add_script_machine(&machine, asked.keep_state)?;
    Ok(machine_info(asked.lab, &machine))
}
