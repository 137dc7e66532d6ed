//! One entry of the journal.

/// One entry of the journal, as far as people read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Whom it is from or, when a manager wrote it, about: the unit; else the program's
    /// identifier; `kernel` for the kernel.
    pub source: String,
    /// 0 (emergency) to 7 (debug); 6 where nothing is said.
    pub priority: u8,
    /// Microseconds since 1970, by the guest's clock.
    pub realtime_us: u64,
    /// Microseconds since the guest's kernel started.
    pub monotonic_us: u64,
    /// May have several lines. Invalid UTF-8 is replaced.
    pub message: String,
    /// Whether the message was longer than what is kept of one.
    pub cut: bool,
    /// The process that wrote it.
    pub pid: Option<u32>,
    /// Where it is in the journal, for [`follow`](super::follow).
    pub cursor: String,
}

/// The fields of an entry as they came.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: [Option<Vec<u8>>; Field::COUNT],
    pub(super) cut: bool,
}

/// The fields that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Message,
    Priority,
    Identifier,
    Pid,
    Transport,
    SystemUnit,
    UserUnit,
    AboutUnit,
    AboutUserUnit,
    Command,
    Realtime,
    Monotonic,
    Cursor,
}

impl Field {
    const COUNT: usize = 13;

    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"MESSAGE" => Self::Message,
            b"PRIORITY" => Self::Priority,
            b"SYSLOG_IDENTIFIER" => Self::Identifier,
            b"_PID" => Self::Pid,
            b"_TRANSPORT" => Self::Transport,
            b"_SYSTEMD_UNIT" => Self::SystemUnit,
            b"_SYSTEMD_USER_UNIT" => Self::UserUnit,
            b"UNIT" => Self::AboutUnit,
            b"USER_UNIT" => Self::AboutUserUnit,
            b"_COMM" => Self::Command,
            b"__REALTIME_TIMESTAMP" => Self::Realtime,
            b"__MONOTONIC_TIMESTAMP" => Self::Monotonic,
            b"__CURSOR" => Self::Cursor,
            _ => return None,
        })
    }

    /// Bytes that are kept of it.
    pub(super) fn longest(self) -> usize {
        match self {
            Self::Message => super::parser::LONGEST_MESSAGE,
            _ => 1024,
        }
    }
}

impl Fields {
    pub(super) fn set(&mut self, field: Field, value: Vec<u8>) {
        // A field may come more than once; the first one is the one that programs print.
        self.values[field as usize].get_or_insert(value);
    }

    /// The entry, and room for the next. Nothing if there was neither a message nor a time.
    pub(super) fn take(&mut self) -> Option<Entry> {
        let fields = std::mem::take(self);
        let has = |field: Field| fields.values[field as usize].is_some();
        if !has(Field::Message) && !has(Field::Realtime) {
            return None;
        }
        Some(Entry {
            source: fields.source(),
            priority: fields
                .number(Field::Priority)
                .filter(|priority| *priority <= 7)
                .unwrap_or(6),
            realtime_us: fields.number(Field::Realtime).unwrap_or_default(),
            monotonic_us: fields.number(Field::Monotonic).unwrap_or_default(),
            message: fields.text(Field::Message).unwrap_or_default(),
            cut: fields.cut,
            pid: fields.number(Field::Pid),
            cursor: fields.text(Field::Cursor).unwrap_or_default(),
        })
    }

    fn source(&self) -> String {
        let text = |field| self.text(field);
        if text(Field::Transport).as_deref() == Some("kernel") {
            return "kernel".to_owned();
        }
        let unit = text(Field::SystemUnit);
        // Anybody may say that it writes about a unit; it is believed of the managers.
        let about = match unit.as_deref() {
            None | Some("init.scope") => text(Field::AboutUnit),
            Some(unit) if unit.starts_with("user@") => {
                let user_unit = text(Field::UserUnit).filter(|unit| unit != "init.scope");
                user_unit.or_else(|| text(Field::AboutUserUnit))
            }
            Some(_) => None,
        };
        about
            .or(unit.filter(|unit| unit != "init.scope"))
            .or_else(|| text(Field::Identifier))
            .or_else(|| text(Field::Command))
            .unwrap_or_else(|| "unknown".to_owned())
    }

    fn text(&self, field: Field) -> Option<String> {
        let bytes = self.values[field as usize].as_deref()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    fn number<T: std::str::FromStr>(&self, field: Field) -> Option<T> {
        self.text(field)?.parse().ok()
    }
}
