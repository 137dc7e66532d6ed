//! Messages of attest's protocol, as its crate `attest-protocol` numbers them: what the guest reads and
//! says of them.

use crate::cbor::{Reader, Writer};

/// What the guest speaks.
pub const GENERATION: u64 = 3;
/// The nonce of a host that does not know the guest's.
pub const KNOCK: u64 = 0;
/// Longest answer but the output of a command.
pub const LONGEST: usize = 512;

/// What the guest says first.
#[derive(Debug, Clone, Copy)]
pub struct Hello<'a> {
    /// Not [`KNOCK`].
    pub nonce: u64,
    /// Another one for each boot.
    pub boot_id: &'a [u8],
    /// Nanoseconds.
    pub uptime_ns: u64,
}

impl Hello<'_> {
    /// As a payload.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        writer.map(7).number(0).number(GENERATION);
        writer.number(1).number(self.nonce);
        writer.number(2).text(b"metal");
        writer.number(3).text(self.boot_id);
        writer.number(4).number(self.uptime_ns);
        writer.number(5).flag(true);
        writer.number(6).flag(false);
        writer.finish()
    }
}

/// The nonce of a welcome.
pub fn welcome(payload: &[u8]) -> Option<u64> {
    let mut nonce = None;
    fields(Reader::new(payload), |key, value| {
        if key == 1 {
            nonce = Some(value.number()?);
        }
        Some(())
    })?;
    nonce
}

/// Call with each field's number, and a reader of its value.
fn fields<'a>(
    mut reader: Reader<'a>,
    mut each: impl FnMut(u64, &mut Reader<'a>) -> Option<()>,
) -> Option<()> {
    for _ in 0..reader.map()? {
        let key = reader.number()?;
        let mut value = reader;
        reader.skip()?;
        each(key, &mut value)?;
    }
    Some(())
}

/// What the host asks for.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// The clock to set, if not 0, and entropy.
    Setup(u64, Option<&'a [u8]>),
    /// Run a program.
    Exec(Exec<'a>),
    /// Nanoseconds since 1970.
    SetClock(u64),
    /// Entropy.
    Reseed(&'a [u8]),
    /// What a guest without file systems has done already.
    Nothing,
    /// Switch off.
    PowerOff,
    /// Start again.
    Reboot,
    /// Measurements.
    Stats,
    /// The machine is going to be saved.
    Quiesce,
    /// Be another machine.
    Identity,
    /// What needs an operating system.
    Unsupported,
}

/// A program to run.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    program: Program<'a>,
    /// Whether bytes come for it.
    pub stdin: bool,
    /// What it may take.
    pub timeout_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Program<'a> {
    Argv(Reader<'a>),
    Shell(&'a [u8]),
}

impl<'a> Exec<'a> {
    fn read(reader: Reader<'a>) -> Option<Self> {
        let mut exec = Self {
            program: Program::Shell(b""),
            stdin: false,
            timeout_ms: None,
        };
        fields(reader, |key, value| {
            match key {
                0 => {
                    let (number, mut fields) = variant(value)?;
                    exec.program = match number {
                        0 => Program::Argv(fields),
                        _ => Program::Shell(fields.bytes()?),
                    };
                }
                4 => exec.stdin = value.flag()?,
                // Absent, or null.
                6 => exec.timeout_ms = value.number(),
                _ => {}
            }
            Some(())
        })?;
        Some(exec)
    }

    /// Whether a shell would run it.
    pub fn is_shell(&self) -> bool {
        matches!(self.program, Program::Shell(_))
    }

    /// Call with each word: an argument, or what blanks part in a line for a shell.
    pub fn words(&self, mut each: impl FnMut(&'a [u8])) {
        match self.program {
            Program::Argv(mut words) => {
                for _ in 0..words.array().unwrap_or(0) {
                    let Some(word) = words.bytes() else { return };
                    each(word);
                }
            }
            Program::Shell(line) => line
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .for_each(each),
        }
    }
}

/// The number of an enum's variant, and what reads its fields.
fn variant<'a>(reader: &mut Reader<'a>) -> Option<(u64, Reader<'a>)> {
    (reader.array()? == 2).then_some(())?;
    let number = reader.number()?;
    reader.array()?;
    Some((number, *reader))
}

impl<'a> Request<'a> {
    /// From a payload; `None` when it is no request.
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let (number, mut field) = variant(&mut Reader::new(payload))?;
        Some(match number {
            0 => {
                let (mut clock, mut entropy) = (0, None);
                fields(field, |key, value| {
                    match key {
                        4 => clock = value.number()?,
                        5 => entropy = value.bytes(),
                        _ => {}
                    }
                    Some(())
                })?;
                Self::Setup(clock, entropy)
            }
            1 => Self::Exec(Exec::read(field)?),
            8 => Self::SetClock(field.number()?),
            9 => Self::Reseed(field.bytes()?),
            10 | 11 | 12 | 16 => Self::Nothing,
            13 => Self::PowerOff,
            14 => Self::Reboot,
            15 => Self::Stats,
            17 => Self::Quiesce,
            18 => Self::Identity,
            _ => Self::Unsupported,
        })
    }
}

/// The signal of a control frame.
pub fn signal(payload: &[u8]) -> Option<i64> {
    let (number, mut fields) = variant(&mut Reader::new(payload))?;
    if number == 0 { fields.signed() } else { None }
}

/// As a notice: the program runs.
pub fn started(process: u32, out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(out);
    writer.variant(0, 1).number(process.into());
    writer.finish()
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// By itself.
    Code(u8),
    /// By a signal.
    Signal(u8),
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
#[expect(
    missing_docs,
    reason = "named in attest-protocol, where they are explained"
)]
pub struct Stats {
    pub uptime_ns: u64,
    pub userspace_ns: u64,
    pub agent_ns: u64,
    pub memory_total: u64,
    pub memory_available: u64,
    pub agent_rss: u64,
    pub agent_tracked: u64,
    pub clock_ns: u64,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named in attest-protocol, where they are explained"
)]
pub enum Reason {
    Cancelled = 1,
    NotFound = 2,
    Invalid = 5,
    Unsupported = 6,
    Os = 7,
}

/// The end of a request.
#[derive(Debug, Clone, Copy)]
#[expect(
    missing_docs,
    reason = "named in attest-protocol, where they are explained"
)]
pub enum Answer<'a> {
    Done,
    Exited {
        status: Status,
        timed_out: bool,
        duration_ns: u64,
    },
    Stats(Stats),
    Quiesced,
    Identity(&'a [u8]),
    Failed(Reason, &'a [u8]),
}

impl Answer<'_> {
    /// As a payload.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        if let Self::Failed(reason, message) = self {
            writer.variant(1, 1).map(2).number(0).number(*reason as u64);
            writer.number(1).text(message);
            return writer.finish();
        }
        writer.variant(0, 1);
        match self {
            Self::Exited {
                status,
                timed_out,
                duration_ns,
            } => {
                let (kind, number) = match status {
                    Status::Code(code) => (0, *code),
                    Status::Signal(signal) => (1, *signal),
                };
                writer.variant(1, 1).map(4);
                writer.number(0).variant(kind, 1).number(number.into());
                writer.number(1).flag(*timed_out);
                writer.number(2).array(0);
                writer.number(3).number(*duration_ns);
            }
            Self::Stats(stats) => {
                let values = [
                    stats.uptime_ns,
                    stats.userspace_ns,
                    stats.agent_ns,
                    stats.memory_total,
                    stats.memory_available,
                    0,
                    stats.agent_rss,
                    0,
                    stats.agent_tracked,
                    0,
                    stats.clock_ns,
                ];
                writer.variant(4, 1).map(values.len() as u64);
                for (key, value) in values.iter().enumerate() {
                    writer.number(key as u64).number(*value);
                }
            }
            Self::Quiesced => drop(writer.variant(5, 1).array(0)),
            Self::Identity(token) => drop(writer.variant(6, 1).text(token)),
            Self::Done | Self::Failed(..) => drop(writer.variant(0, 0)),
        }
        writer.finish()
    }
}
