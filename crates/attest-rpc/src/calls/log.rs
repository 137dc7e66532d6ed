//! What scripts say for the log becomes events.

use attest_events::{EventKind, nanoseconds};

use crate::error::RpcError;
use crate::session::Session;
use crate::table::parse;
use crate::types::{LogBegin, LogEnd, LogLevelSet, LogLine, LogSerial};
use crate::wire::Notification;

pub(crate) fn hear(session: &Session, said: Notification) -> Result<(), RpcError> {
    let method = said.method.as_str();
    match method {
        "log.line" => line(session, parse(method, said.params)?),
        "log.begin" => begin(session, parse(method, said.params)?),
        "log.end" => end(session, parse(method, said.params)?),
        "log.serial" => {
            let LogSerial { on } = parse(method, said.params)?;
            session.recorder().record(EventKind::LogConsoles { on });
        }
        "log.level" => {
            let LogLevelSet { level } = parse(method, said.params)?;
            session.recorder().record(EventKind::LogLeast { level });
        }
        _ => return Err(RpcError::UnknownMethod(said.method)),
    }
    Ok(())
}

fn line(session: &Session, line: LogLine) {
    let kind = EventKind::Log {
        level: line.level,
        message: line.message,
        attributes: line.attributes,
    };
    record(session, line.machine.as_deref(), kind);
}

fn begin(session: &Session, part: LogBegin) {
    let kind = EventKind::LogBegan {
        id: part.id,
        message: part.message,
        subtest: part.subtest,
        attributes: part.attributes,
    };
    record(session, part.machine.as_deref(), kind);
    session.begin(part.id, part.machine);
}

fn end(session: &Session, LogEnd { id, error }: LogEnd) {
    // What never began has no end.
    let Some(part) = session.end(id) else { return };
    let kind = EventKind::LogEnded {
        id,
        duration_ns: nanoseconds(part.began.elapsed()),
        error,
    };
    record(session, part.machine.as_deref(), kind);
}

fn record(session: &Session, machine: Option<&str>, kind: EventKind) {
    match machine {
        Some(machine) => session.recorder().record_machine(machine, kind),
        None => session.recorder().record(kind),
    }
}
