//! All methods and notifications: what they are called, what they take and give, and who serves
//! them. Dispatch and schema are both made of this one table.

use std::sync::Arc;

use attest::Machine;
use bytes::Bytes;
use schemars::{Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::calls::{balloon, control, lab, machine, screen, snapshot};
use crate::error::RpcError;
use crate::session::Session;
use crate::types;

/// A result with the bytes that go with it.
#[derive(Debug)]
pub(crate) struct Reply<R> {
    pub(crate) result: R,
    pub(crate) attachments: Vec<Bytes>,
}

impl<R> From<R> for Reply<R> {
    fn from(result: R) -> Self {
        Self {
            result,
            attachments: Vec::new(),
        }
    }
}

/// The outcome of a call, ready to be sent.
pub(crate) type Outcome = Result<(Value, Vec<Bytes>), RpcError>;

/// What the schema says of a method.
pub(crate) struct MethodInfo {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) of_machine: bool,
    pub(crate) params: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) result: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) takes: &'static [&'static str],
    pub(crate) gives: &'static [&'static str],
}

macro_rules! methods {
    ($(
        $name:literal $kind:ident $handler:path: $params:ty => $result:ty,
        takes $takes:tt, gives $gives:tt, $doc:literal;
    )*) => {
        /// Serve a call.
        pub(crate) async fn call(
            session: &Arc<Session>,
            name: &str,
            params: Map<String, Value>,
            attachments: Vec<Bytes>,
        ) -> Outcome {
            match name {
                $($name => methods!(@call $kind $handler, $params, $result, session, name, params, attachments),)*
                _ => Err(RpcError::UnknownMethod(name.to_owned())),
            }
        }

        /// All methods.
        pub(crate) fn methods() -> Vec<MethodInfo> {
            vec![$(MethodInfo {
                name: $name,
                doc: $doc,
                of_machine: methods!(@of $kind),
                params: SchemaGenerator::subschema_for::<$params>,
                result: SchemaGenerator::subschema_for::<$result>,
                takes: &$takes,
                gives: &$gives,
            },)*]
        }
    };
    (@of machine) => { true };
    (@of session) => { false };
    (@call session $handler:path, $params:ty, $result:ty, $session:ident, $name:ident, $given:ident, $attachments:ident) => {{
        let params: $params = parse($name, $given)?;
        sent::<$result>($handler(Arc::clone($session), params, $attachments).await)
    }};
    (@call machine $handler:path, $params:ty, $result:ty, $session:ident, $name:ident, $given:ident, $attachments:ident) => {{
        let (machine, rest) = of_machine($session, $name, $given)?;
        let of = machine.name().to_owned();
        let params: $params = parse($name, rest).map_err(|error| error.of(&of))?;
        sent::<$result>($handler(Arc::clone($session), machine, params, $attachments).await)
    }};
}

methods! {
    "session.describe" session control::describe: types::Nothing => types::Description,
        takes [], gives [], "What a script's runner has to know.";
    "script.ended" session control::script_ended: types::ScriptEnd => types::Nothing,
        takes [], gives [], "The script has ended; its runner says nothing after this.";
    "log.flush" session control::flush: types::Nothing => types::Nothing,
        takes [], gives [], "All that was logged before has been written when this is answered.";
    "events.subscribe" session control::subscribe: types::Nothing => types::Nothing,
        takes [], gives [], "From now on the notification `event` comes for each event of the run.";
    "lab.open" session lab::open: types::OpenLab => types::LabInfo,
        takes [], gives [], "Make the lab of a manifest, and boot it.";
    "lab.start" session lab::start: types::LabRef => types::Nothing,
        takes [], gives [], "Start all machines at once, and wait until all are ready.";
    "lab.close" session lab::close: types::LabRef => types::Nothing,
        takes [], gives [], "End all that is in a lab.";
    "lab.environment" session lab::environment: types::SetEnvironment => types::Nothing,
        takes [], gives [], "The environment of start scripts that start from now on.";
    "lab.create_machine" session lab::create_machine: types::CreateMachine => types::MachineInfo,
        takes [], gives [], "One more machine, of a start script.";
    "lab.snapshot" session snapshot::save_lab: types::LabRef => types::SnapshotInfo,
        takes [], gives [], "Save all machines and networks of a lab as they are; it goes on.";
    "lab.restore" session snapshot::restore_lab: types::RestoreLab => types::Nothing,
        takes [], gives [], "Put a lab back to where it was saved; what goes on in it ends.";
    "lab.fork" session snapshot::fork_lab: types::ForkLab => types::LabInfo,
        takes [], gives [], "One more lab, beside this one: as this one is, or as it was saved.";
    "snapshot.drop" session snapshot::forget: types::SnapshotRef => types::Nothing,
        takes [], gives [], "Forget a saved lab or machine; labs made of it go on.";
    "machine.start" machine machine::start: types::Start => types::StartedInfo,
        takes [], gives [], "Start it; returns when it runs, long before it has booted.";
    "machine.connect" machine machine::connect: types::Connect => types::Connected,
        takes [], gives [], "Start it if it is off, and wait until commands can run.";
    "machine.state" machine machine::state: types::Nothing => types::MachineState,
        takes [], gives [], "Where it stands.";
    "machine.exec" machine machine::exec: types::Exec => types::Executed,
        takes ["stdin"], gives ["stdout", "stderr"], "Run a command; that it fails is no error.";
    "machine.wait" machine machine::wait: types::Wait => types::Met,
        takes [], gives ["stdout"], "Wait until something is so.";
    "machine.wait_unit" machine machine::wait_unit: types::WaitUnit => types::Met,
        takes [], gives [], "Wait until a unit is active; an error as soon as it will not be.";
    "machine.unit" machine machine::unit: types::Unit => types::UnitInfo,
        takes [], gives [], "All properties of a unit.";
    "machine.wait_ended" machine machine::wait_ended: types::WaitEnded => types::Ended,
        takes [], gives [], "Wait until it is off.";
    "machine.power_off" machine machine::power_off: types::Nothing => types::Nothing,
        takes [], gives [], "Switch it off through its own shutdown, and wait for that.";
    "machine.kill" machine machine::kill: types::Nothing => types::Nothing,
        takes [], gives [], "Pull the plug.";
    "machine.release" machine machine::kill: types::Nothing => types::Nothing,
        takes [], gives [], "Pull the plug, at the end of all.";
    "machine.reboot" machine machine::reboot: types::Nothing => types::Nothing,
        takes [], gives [], "Boot it again through its own shutdown, and wait until it is ready.";
    "machine.pause" machine machine::pause: types::Nothing => types::Nothing,
        takes [], gives [], "Stop its processors.";
    "machine.resume" machine machine::resume: types::Nothing => types::Nothing,
        takes [], gives [], "Let its processors go on.";
    "machine.balloon" machine balloon::inflate: types::Inflate => types::Nothing,
        takes [], gives [], "Take memory back from it, or give it back.";
    "machine.balloon_statistics" machine balloon::statistics: types::Nothing => types::BalloonInfo,
        takes [], gives [], "How large its balloon is, and what it says of its memory.";
    "machine.snapshot" machine snapshot::save_machine: types::Nothing => types::SnapshotInfo,
        takes [], gives [], "Save it as it is; it goes on.";
    "machine.restore" machine snapshot::restore_machine: types::SnapshotRef => types::Nothing,
        takes [], gives [], "Put it back to where it was saved; what goes on in it ends.";
    "machine.sync" machine machine::sync: types::Nothing => types::Nothing,
        takes [], gives [], "Write what its file systems hold back.";
    "machine.upload" machine machine::upload: types::Copy => types::Copied,
        takes [], gives [], "Copy a file or a tree from the host into it.";
    "machine.download" machine machine::download: types::Copy => types::Copied,
        takes [], gives [], "Copy a file or a tree from it to the host.";
    "machine.console" machine machine::console: types::Console => types::ConsolePart,
        takes [], gives ["text"], "Lines of its console, from a position on.";
    "machine.console_text" machine machine::console_text: types::Nothing => types::Nothing,
        takes [], gives ["text"], "All that its console printed since its start.";
    "machine.send_console" machine machine::send_console: types::Nothing => types::Nothing,
        takes ["bytes"], gives [], "Type bytes at its console.";
    "machine.monitor" machine screen::monitor: types::Monitor => types::Monitored,
        takes [], gives [], "A command of QEMU's human monitor.";
    "machine.qmp" machine screen::qmp: types::Qmp => types::Answered,
        takes [], gives [], "A command of QEMU's machine protocol.";
    "machine.qmp_events" machine screen::qmp_events: types::EventsFrom => types::Events,
        takes [], gives [], "Events of QEMU's machine protocol, from a position on.";
    "machine.send_keys" machine screen::send_keys: types::Keys => types::Nothing,
        takes [], gives [], "Press keys.";
    "machine.send_chars" machine screen::send_chars: types::Chars => types::Nothing,
        takes [], gives [], "Type a text, as on a US keyboard.";
    "machine.screenshot" machine screen::screenshot: types::Screenshot => types::Screen,
        takes [], gives ["png"], "A picture of its screen.";
    "machine.screen_text" machine screen::screen_text: types::ScreenText => types::Texts,
        takes [], gives [], "What is to be read on its screen.";
    "machine.link" machine screen::link: types::Link => types::Nothing,
        takes [], gives [], "Plug its first VLAN in, or pull it out.";
    "machine.forward" machine screen::forward: types::Forward => types::Nothing,
        takes [], gives [], "Let a port of the host lead to one of the guest.";
}

/// What a client may say without an answer.
pub(crate) type NotificationInfo = (
    &'static str,
    fn(&mut SchemaGenerator) -> Schema,
    &'static str,
);

/// All notifications of a client.
pub(crate) fn notifications() -> [NotificationInfo; 6] {
    [
        (
            "cancel",
            SchemaGenerator::subschema_for::<types::Cancel>,
            "Give up a call.",
        ),
        (
            "log.line",
            SchemaGenerator::subschema_for::<types::LogLine>,
            "A line for the log.",
        ),
        (
            "log.begin",
            SchemaGenerator::subschema_for::<types::LogBegin>,
            "A nested part of the log begins.",
        ),
        (
            "log.end",
            SchemaGenerator::subschema_for::<types::LogEnd>,
            "A nested part of the log ends.",
        ),
        (
            "log.serial",
            SchemaGenerator::subschema_for::<types::LogSerial>,
            "Whether lines of consoles are in the log.",
        ),
        (
            "log.level",
            SchemaGenerator::subschema_for::<types::LogLevelSet>,
            "The least that is in the log.",
        ),
    ]
}

fn of_machine(
    session: &Session,
    method: &str,
    mut params: Map<String, Value>,
) -> Result<(Machine, Map<String, Value>), RpcError> {
    let Some(Value::String(name)) = params.remove("machine") else {
        return Err(RpcError::Params(format!(
            "{method}: `machine` has to be the name of a machine"
        )));
    };
    let number = match params.remove("lab") {
        None => types::first_lab(),
        Some(value) => serde_json::from_value(value).map_err(|_| {
            RpcError::Params(format!("{method}: `lab` has to be the number of a lab"))
        })?,
    };
    let machine = session.lab(number)?.machine(&name)?;
    Ok((machine, params))
}

/// The parameters of a method, or what is wrong with them.
pub(crate) fn parse<P: DeserializeOwned>(
    method: &str,
    params: Map<String, Value>,
) -> Result<P, RpcError> {
    serde_json::from_value(Value::Object(params))
        .map_err(|error| RpcError::Params(format!("{method}: {error}")))
}

fn sent<R: serde::Serialize>(reply: Result<impl Into<Reply<R>>, RpcError>) -> Outcome {
    let Reply {
        result,
        attachments,
    } = reply?.into();
    let result = serde_json::to_value(result).map_err(|error| {
        RpcError::failed(
            crate::ErrorKind::Infrastructure,
            format!("the result cannot be written: {error}"),
        )
    })?;
    Ok((result, attachments))
}
