//! For tests: a peer that plays systemd, one unit and its jobs, and does as it is told.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use crate::dbus::{Kind, Message, encode};
use crate::manager::Manager;
use crate::name::object_path;
use crate::signal::{MANAGER, PROPERTIES, UNIT};
use crate::value::{Value, Variant};

pub(crate) const UNIT_NAME: &str = "x.service";
const OBJECT: &str = "/org/freedesktop/systemd1";

/// What it says when asked.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) load: &'static str,
    pub(crate) active: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) job: u32,
    pub(crate) left_inactive: u64,
    pub(crate) jobs: Vec<u32>,
    pub(crate) finished: bool,
    /// The methods that were called, in their order.
    pub(crate) calls: Vec<String>,
}

impl World {
    pub(crate) fn new(active: &'static str, jobs: &[u32]) -> Self {
        Self {
            load: "loaded",
            active,
            sub: "some",
            job: 0,
            left_inactive: 5,
            jobs: jobs.to_vec(),
            finished: true,
            calls: Vec::new(),
        }
    }
}

/// A change to be made right after a method was answered: a race at its worst.
type After = Box<dyn FnMut(&str, &mut World) -> Vec<Message> + Send>;

/// The peer's side, for signals.
#[derive(Clone)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    writer: Arc<tokio::sync::Mutex<WriteHalf<DuplexStream>>>,
}

impl Fake {
    /// A manager, and the peer that it is connected with.
    pub(crate) async fn manager(world: World) -> (Manager, Self) {
        Self::racing(world, Box::new(|_, _| Vec::new())).await
    }

    /// As [`Fake::manager`]; `after` is called after each answer.
    pub(crate) async fn racing(world: World, after: After) -> (Manager, Self) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let fake = Self::serve(far, world, after);
        (Manager::connect(near).await.unwrap(), fake)
    }

    pub(crate) fn serve(far: DuplexStream, world: World, after: After) -> Self {
        let (reader, writer) = tokio::io::split(far);
        let world = Arc::new(Mutex::new(world));
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let fake = Self { world, writer };
        let served = fake.clone();
        tokio::spawn(async move { served.run(reader, after).await });
        fake
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.world.lock().unwrap().calls.clone()
    }

    pub(crate) async fn send(&self, message: &Message) {
        let bytes = message.encode().unwrap();
        // The other side may be gone, as tests have it.
        let _ = self.writer.lock().await.write_all(&bytes).await;
    }

    /// Hang up.
    pub(crate) async fn close(&self) {
        self.writer.lock().await.shutdown().await.unwrap();
    }

    /// The signal that the unit is as the world says.
    pub(crate) async fn tell(&self) {
        let signal = changed(&self.world.lock().unwrap());
        self.send(&signal).await;
    }

    async fn run(&self, mut reader: ReadHalf<DuplexStream>, mut after: After) {
        let mut buffer = BytesMut::new();
        shake_hands(&mut reader, &mut buffer, &self.writer).await;
        loop {
            while let Ok(Ok(call)) = Message::take(&mut buffer) {
                let messages = {
                    let mut world = self.world.lock().unwrap();
                    let mut messages = answer(&call, &mut world);
                    messages.extend(after(&call.member, &mut world));
                    messages
                };
                for message in messages {
                    self.send(&message).await;
                }
            }
            if !matches!(reader.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    }
}

async fn shake_hands(
    reader: &mut ReadHalf<DuplexStream>,
    buffer: &mut BytesMut,
    writer: &tokio::sync::Mutex<WriteHalf<DuplexStream>>,
) {
    let mut said = Vec::new();
    while !said.ends_with(b"BEGIN\r\n") {
        let byte = reader.read_u8().await.unwrap();
        said.push(byte);
        if said == b"\0AUTH EXTERNAL 30\r\n" {
            writer
                .lock()
                .await
                .write_all(b"OK 0123456789abcdef\r\n")
                .await
                .unwrap();
        }
    }
    buffer.clear();
}

fn answer(call: &Message, world: &mut World) -> Vec<Message> {
    let arguments = call.values().unwrap();
    let argument = |at: usize| {
        arguments
            .get(at)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    world.calls.push(call.member.clone());
    let (signature, body) = match call.member.as_str() {
        "Get" if argument(1) == "FinishTimestampMonotonic" => {
            ("v", variant("t", Value::U64(u64::from(world.finished))))
        }
        "Get" if argument(1) == "SystemState" => {
            let state = if world.finished {
                "running"
            } else {
                "starting"
            };
            ("v", variant("s", state.into()))
        }
        "Get" => ("v", variant("s", "1".into())),
        "GetAll" => ("a{sv}", properties(world)),
        "ListJobs" => ("a(usssoo)", jobs(world)),
        "ListUnitsByPatterns" => ("a(ssssssouso)", units(world)),
        "ListUnitFiles" => ("a(ss)", Value::Array(Vec::new())),
        "StartUnit" => ("o", Value::Path(format!("{OBJECT}/job/7"))),
        _ => return Vec::new(),
    };
    let body = encode(signature, &[body]).unwrap();
    let reply_to = Some(call.serial);
    vec![Message {
        reply_to,
        ..Message::new(Kind::Return, 1, signature, body)
    }]
}

fn variant(signature: &str, value: Value) -> Value {
    let signature = signature.to_owned();
    Value::Variant(Box::new(Variant { signature, value }))
}

fn properties(world: &World) -> Value {
    let job = Value::Struct(vec![Value::U32(world.job), Value::Path("/".to_owned())]);
    let pairs = [
        ("Id", "s", UNIT_NAME.into()),
        ("LoadState", "s", world.load.into()),
        ("ActiveState", "s", world.active.into()),
        ("SubState", "s", world.sub.into()),
        ("Job", "(uo)", job),
        (
            "InactiveExitTimestampMonotonic",
            "t",
            Value::U64(world.left_inactive),
        ),
    ];
    let pairs = pairs.map(|(name, signature, value)| (name.into(), variant(signature, value)));
    Value::Dict(pairs.into())
}

fn jobs(world: &World) -> Value {
    let path = || Value::Path("/".to_owned());
    let job = |id: &u32| {
        let (unit, kind, state) = ("y.service".into(), "start".into(), "running".into());
        Value::Struct(vec![Value::U32(*id), unit, kind, state, path(), path()])
    };
    Value::Array(world.jobs.iter().map(job).collect())
}

fn units(world: &World) -> Value {
    let path = || Value::Path("/".to_owned());
    let text = Value::from;
    Value::Array(vec![Value::Struct(vec![
        text(UNIT_NAME),
        text(""),
        text(world.load),
        text(world.active),
        text(world.sub),
        text(""),
        path(),
        Value::U32(world.job),
        text(""),
        path(),
    ])])
}

fn signal(path: &str, interface: &str, member: &str, signature: &str, body: &[Value]) -> Message {
    Message {
        path: path.to_owned(),
        interface: interface.to_owned(),
        member: member.to_owned(),
        ..Message::new(Kind::Signal, 1, signature, encode(signature, body).unwrap())
    }
}

pub(crate) fn changed(world: &World) -> Message {
    let body = [UNIT.into(), properties(world), Value::Array(Vec::new())];
    let path = object_path(UNIT_NAME);
    signal(&path, PROPERTIES, "PropertiesChanged", "sa{sv}as", &body)
}

pub(crate) fn job_new(id: u32) -> Message {
    let body = [
        Value::U32(id),
        Value::Path("/".to_owned()),
        "y.service".into(),
    ];
    signal(OBJECT, MANAGER, "JobNew", "uos", &body)
}

pub(crate) fn job_removed(id: u32, unit: &str, result: &str) -> Message {
    let path = Value::Path("/".to_owned());
    let body = [Value::U32(id), path, unit.into(), result.into()];
    signal(OBJECT, MANAGER, "JobRemoved", "uoss", &body)
}

pub(crate) fn startup_finished() -> Message {
    signal(
        OBJECT,
        MANAGER,
        "StartupFinished",
        "tttttt",
        &[const { Value::U64(0) }; 6],
    )
}

pub(crate) fn reloaded() -> Message {
    signal(OBJECT, MANAGER, "Reloading", "b", &[false.into()])
}

pub(crate) fn unit_new() -> Message {
    let body = [UNIT_NAME.into(), Value::Path(object_path(UNIT_NAME))];
    signal(OBJECT, MANAGER, "UnitNew", "so", &body)
}
