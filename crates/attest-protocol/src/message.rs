//! Requests, controls, notices, responses and errors, encoded as CBOR with numbered fields.
//!
//! Fields are only ever added, as `Option`s or with `#[cbor(default)]`, and numbers are never
//! used twice: an agent frozen in an old snapshot must stay readable for ever.

use minicbor::{Decode, Encode};

/// Bytes that need not be UTF-8: arguments, paths, environment. CBOR byte strings.
pub type RawBytes = minicbor::bytes::ByteVec;

/// The first frame of a connection, sent by the agent until it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The newest generation that the agent speaks.
    #[n(0)]
    pub generation: u32,
    /// Random; the host echoes it, so that a stale answer is told from a fresh one.
    #[n(1)]
    pub nonce: u64,
    /// The agent's version, for messages to people.
    #[n(2)]
    pub version: String,
    /// Differs on every boot of the guest (`/proc/sys/kernel/random/boot_id`).
    #[n(3)]
    pub boot_id: String,
    /// Nanoseconds since the guest's kernel started (`CLOCK_BOOTTIME`).
    #[n(4)]
    pub uptime_ns: u64,
    /// Whether the agent is the guest's PID 1.
    #[n(5)]
    pub is_init: bool,
    /// Whether the guest's own init has not begun: it waits for [`Request::Boot`].
    #[n(6)]
    #[cbor(default)]
    pub waits: bool,
}

/// The host's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The generation that both will speak: the smaller of the two.
    #[n(0)]
    pub generation: u32,
    /// [`Hello::nonce`], echoed.
    #[n(1)]
    pub nonce: u64,
}

/// [`Welcome::nonce`] of a host that does not know the agent's: it has a machine that was saved while its agent had
/// a session with another. The agent begins anew, with a hello. No hello has this nonce.
pub const KNOCK: u64 = 0;

/// What opens a channel. The host opens all of them but [`Request::Accepted`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Name, addresses, hosts, environment and clock of the machine. → [`Response::Done`]
    #[n(0)]
    Setup(#[n(0)] Setup),
    /// Run a program. Streams: 0 in, 1 and 2 out. → [`Response::Exited`]
    #[n(1)]
    Exec(#[n(0)] Exec),
    /// Unpack the tar stream that arrives on stream 0. → [`Response::Copied`]
    #[n(2)]
    Upload(#[n(0)] Upload),
    /// Send `path` as a tar stream on stream 1. → [`Response::Copied`]
    #[n(3)]
    Download(#[n(0)] Download),
    /// Block until the condition holds. → [`Response::Met`]
    #[n(4)]
    Wait(#[n(0)] Wait),
    /// Connect inside the guest; bytes flow on streams 0 (to guest) and 1 (to host).
    /// A notice [`Notice::Connected`] precedes data. → [`Response::Done`]
    #[n(5)]
    Connect(#[n(0)] Endpoint),
    /// Listen inside the guest, until the channel is cancelled; each accepted connection opens
    /// [`Request::Accepted`] back to the host. [`Notice::Listening`] says when it is ready.
    #[n(6)]
    Listen(#[n(0)] Endpoint),
    /// Agent to host: a connection on the listener of channel `listener`.
    #[n(7)]
    Accepted(#[n(0)] u32),
    /// Set the wall clock, nanoseconds since 1970. → [`Response::Done`]
    #[n(8)]
    SetClock(#[n(0)] u64),
    /// Mix these bytes into the kernel's entropy pool and credit them. → [`Response::Done`]
    #[n(9)]
    Reseed(#[n(0)] RawBytes),
    /// Write all dirty pages of every file system. → [`Response::Done`]
    #[n(10)]
    Sync,
    /// Freeze these mount points (`FIFREEZE`); all or none. → [`Response::Done`]
    #[n(11)]
    Freeze(#[n(0)] Vec<RawBytes>),
    /// Thaw what [`Request::Freeze`] froze. → [`Response::Done`]
    #[n(12)]
    Thaw,
    /// Sync and switch off. → [`Response::Done`], then the connection ends.
    #[n(13)]
    PowerOff,
    /// Sync and boot again. → [`Response::Done`], then the connection ends.
    #[n(14)]
    Reboot,
    /// → [`Response::Stats`]
    #[n(15)]
    Stats,
    /// Let the guest's own init begin, where it waits ([`Hello::waits`]). → [`Response::Done`]
    #[n(16)]
    Boot,
    /// The machine is going to be saved: write all dirty pages, and freeze every file system that can be, until
    /// [`Request::Thaw`] or the session's end. → [`Response::Quiesced`]
    #[n(17)]
    Quiesce,
    /// Be another machine than all that began as the same one: with a new token, which programs find in
    /// `/run/attest/identity`. → [`Response::Identity`]
    #[n(18)]
    Identity,
}

impl Request {
    /// The generation that brought this request; an older agent cannot answer it.
    pub fn since(&self) -> u32 {
        match self {
            Self::Boot => 2,
            Self::Quiesce | Self::Identity => 3,
            _ => 1,
        }
    }

    /// A name for messages to people and for events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Setup(_) => "setup",
            Self::Exec(_) => "exec",
            Self::Upload(_) => "upload",
            Self::Download(_) => "download",
            Self::Wait(_) => "wait",
            Self::Connect(_) => "connect",
            Self::Listen(_) => "listen",
            Self::Accepted(_) => "accepted",
            Self::SetClock(_) => "set-clock",
            Self::Reseed(_) => "reseed",
            Self::Sync => "sync",
            Self::Freeze(_) => "freeze",
            Self::Thaw => "thaw",
            Self::PowerOff => "power-off",
            Self::Reboot => "reboot",
            Self::Stats => "stats",
            Self::Boot => "boot",
            Self::Quiesce => "quiesce",
            Self::Identity => "identity",
        }
    }
}

/// How a machine is told who it is. Applied once after each boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Setup {
    /// The host name to set; empty leaves it.
    #[n(0)]
    pub hostname: String,
    /// All names of the lab, for `/etc/hosts`.
    #[n(1)]
    pub hosts: Vec<HostEntry>,
    /// One per network card, found by its MAC.
    #[n(2)]
    pub interfaces: Vec<Interface>,
    /// The default environment of every command, beside the agent's own.
    #[n(3)]
    pub environment: Vec<(String, String)>,
    /// Wall clock to set, nanoseconds since 1970; 0 leaves it.
    #[n(4)]
    pub clock_ns: u64,
    /// Entropy to mix in.
    #[n(5)]
    pub entropy: Option<RawBytes>,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostEntry {
    /// IPv4 or IPv6 address, in its usual text form.
    #[n(0)]
    pub address: String,
    /// The names it answers to.
    #[n(1)]
    pub names: Vec<String>,
}

/// One network card of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Interface {
    /// Which card.
    #[n(0)]
    pub mac: [u8; 6],
    /// `address/prefix`, IPv4 and IPv6.
    #[n(1)]
    pub addresses: Vec<String>,
    /// Bytes; 0 leaves the driver's default.
    #[n(2)]
    pub mtu: u32,
    /// What to call it; absent leaves the kernel's name.
    #[n(3)]
    pub name: Option<String>,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Exec {
    /// What to run.
    #[n(0)]
    pub program: Program,
    /// Added to, or replacing, the default environment.
    #[n(1)]
    pub environment: Vec<(RawBytes, RawBytes)>,
    /// Working directory; the user's home when `user` is set, else `/root` or `/`.
    #[n(2)]
    pub directory: Option<RawBytes>,
    /// Name of the user to run as, with its groups and home.
    #[n(3)]
    pub user: Option<String>,
    /// Whether stream 0 feeds stdin; `/dev/null` otherwise.
    #[n(4)]
    pub stdin: bool,
    /// Run on a pseudo-terminal of this size; its output is all on stream 1.
    #[n(5)]
    pub pty: Option<TerminalSize>,
    /// After this many milliseconds the process group gets SIGTERM, and SIGKILL one second later.
    #[n(6)]
    pub timeout_ms: Option<u64>,
}

/// What [`Exec`] runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Program {
    /// Program and arguments, searched in `PATH`; no shell takes part.
    #[n(0)]
    Argv(#[n(0)] Vec<RawBytes>),
    /// As by `bash -c 'set -euo pipefail; …'` (the guest's `sh` where it has no bash).
    #[n(1)]
    Shell(#[n(0)] RawBytes),
}

impl Program {
    /// What is run, as one short line for messages.
    pub fn text(&self) -> String {
        let text = match self {
            Self::Shell(command) => String::from_utf8_lossy(command).into_owned(),
            Self::Argv(argv) => String::from_utf8_lossy(
                &argv
                    .iter()
                    .map(|word| &***word)
                    .collect::<Vec<_>>()
                    .join(&b' '),
            )
            .into_owned(),
        };
        crate::one_line(&text)
    }
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TerminalSize {
    /// Lines.
    #[n(0)]
    pub rows: u16,
    /// Characters in a line.
    #[n(1)]
    pub columns: u16,
}

/// Where a tar stream goes. Its single top-level entry becomes `path` itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upload {
    /// Absolute path in the guest; missing parents are made.
    #[n(0)]
    pub path: RawBytes,
}

/// What to send as a tar stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Download {
    /// Absolute path in the guest: a file, symlink or directory.
    #[n(0)]
    pub path: RawBytes,
}

/// A condition, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Wait {
    /// What to wait for.
    #[n(0)]
    pub condition: Condition,
    /// Milliseconds on the guest's monotonic clock.
    #[n(1)]
    pub timeout_ms: u64,
}

/// What can be waited for inside the guest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Condition {
    /// `host:port` accepts a connection.
    #[n(0)]
    PortOpen(#[n(0)] String, #[n(1)] u16),
    /// `host:port` refuses.
    #[n(1)]
    PortClosed(#[n(0)] String, #[n(1)] u16),
    /// The path exists (links are followed).
    #[n(2)]
    FileExists(#[n(0)] RawBytes),
    /// The path is gone.
    #[n(3)]
    FileVanished(#[n(0)] RawBytes),
    /// The file exists and a match of this regular expression is in it.
    #[n(4)]
    FileMatches(#[n(0)] RawBytes, #[n(1)] String),
    /// A Unix stream or datagram socket at this path accepts a connection.
    #[n(5)]
    UnixSocket(#[n(0)] RawBytes),
    /// The command ends with status 0; it is run again until then.
    #[n(6)]
    CommandSucceeds(#[n(0)] Exec),
    /// The command ends with another status than 0.
    #[n(7)]
    CommandFails(#[n(0)] Exec),
    /// A process whose command line (arguments joined by spaces) matches this regular expression.
    #[n(8)]
    ProcessExists(#[n(0)] String),
    /// No such process is left.
    #[n(9)]
    ProcessVanished(#[n(0)] String),
}

impl Condition {
    /// What did not happen, as the beginning of a sentence.
    pub fn unmet(&self) -> String {
        let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        match self {
            Self::PortOpen(host, port) => format!("port {host}:{port} did not open"),
            Self::PortClosed(host, port) => format!("port {host}:{port} did not close"),
            Self::FileExists(file) => format!("{} did not appear", path(file)),
            Self::FileVanished(file) => format!("{} did not vanish", path(file)),
            Self::FileMatches(file, pattern) => {
                format!("{} did not come to match /{pattern}/", path(file))
            }
            Self::UnixSocket(file) => {
                format!("the socket {} did not accept a connection", path(file))
            }
            Self::CommandSucceeds(exec) => format!("`{}` did not succeed", exec.program.text()),
            Self::CommandFails(exec) => format!("`{}` did not fail", exec.program.text()),
            Self::ProcessExists(pattern) => format!("no process came to match /{pattern}/"),
            Self::ProcessVanished(pattern) => {
                format!("the processes that match /{pattern}/ did not end")
            }
        }
    }
}

/// A place to connect to or listen at.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Endpoint {
    /// Host and port; port 0 lets the kernel choose when listening.
    #[n(0)]
    Tcp(#[n(0)] String, #[n(1)] u16),
    /// Path of a Unix stream socket.
    #[n(1)]
    Unix(#[n(0)] RawBytes),
}

/// From the host, on an open channel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Control {
    /// Send this signal to the process group.
    #[n(0)]
    Signal(#[n(0)] i32),
    /// The terminal has a new size.
    #[n(1)]
    Resize(#[n(0)] TerminalSize),
}

/// From the agent, on an open channel, before its result.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Notice {
    /// The program runs, as this process.
    #[n(0)]
    Started(#[n(0)] u32),
    /// The connection stands; data may flow.
    #[n(1)]
    Connected,
    /// Listening; the port is the real one for TCP, 0 for Unix sockets.
    #[n(2)]
    Listening(#[n(0)] u16),
}

/// How a request ended well.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// Nothing more to say.
    #[n(0)]
    Done,
    /// The program ended.
    #[n(1)]
    Exited(#[n(0)] Exited),
    /// Copied this many bytes of file contents.
    #[n(2)]
    Copied(#[n(0)] u64),
    /// The condition holds; for a command, its output.
    #[n(3)]
    Met(#[n(0)] Option<CommandSeen>),
    /// Measurements of the guest.
    #[n(4)]
    Stats(#[n(0)] Stats),
    /// Why file systems that are on disks could not be frozen, a line for each.
    #[n(5)]
    Quiesced(#[n(0)] Vec<String>),
    /// The new token: 32 hexadecimal digits.
    #[n(6)]
    Identity(#[n(0)] String),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Exited {
    /// By itself or by a signal. Shell programs always report a code (128 + signal), as bash does.
    #[n(0)]
    pub status: ExitStatus,
    /// Whether the time-out ended it.
    #[n(1)]
    pub timed_out: bool,
    /// Processes that still hold its stdout or stderr, as `pid name`. Their later output is dropped.
    #[n(2)]
    pub holders: Vec<String>,
    /// Nanoseconds from fork to end, in the guest.
    #[n(3)]
    pub duration_ns: u64,
}

/// By itself or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ExitStatus {
    /// The exit code, 0–255.
    #[n(0)]
    Code(#[n(0)] i32),
    /// The signal that ended it.
    #[n(1)]
    Signal(#[n(0)] i32),
}

/// The last try of a waited-for command.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandSeen {
    /// How it ended.
    #[n(0)]
    pub status: ExitStatus,
    /// At most [`MAX_SEEN`] bytes, the end of it.
    #[n(1)]
    pub stdout: RawBytes,
    /// At most [`MAX_SEEN`] bytes, the end of it.
    #[n(2)]
    pub stderr: RawBytes,
    /// How often it was run.
    #[n(3)]
    pub tries: u64,
}

/// Bytes of output kept of a command that is waited for.
pub const MAX_SEEN: usize = 32 * 1024;

/// What the guest says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Stats {
    /// `CLOCK_BOOTTIME` now, nanoseconds.
    #[n(0)]
    pub uptime_ns: u64,
    /// `CLOCK_BOOTTIME` when user space (PID 1 for the built-in guest, else the agent) began.
    #[n(1)]
    pub userspace_ns: u64,
    /// `CLOCK_BOOTTIME` when the agent sent its first hello.
    #[n(2)]
    pub agent_ns: u64,
    /// Bytes, as in `/proc/meminfo`.
    #[n(3)]
    pub memory_total: u64,
    /// Bytes.
    #[n(4)]
    pub memory_available: u64,
    /// One-minute load, times 1000.
    #[n(5)]
    pub load_milli: u64,
    /// The agent's own resident bytes.
    #[n(6)]
    pub agent_rss: u64,
    /// Open descriptors of the agent.
    #[n(7)]
    pub agent_fds: u64,
    /// Child processes and channels that the agent still tracks (this request's own excepted).
    #[n(8)]
    pub agent_tracked: u64,
    /// Shells that were started ahead and wait for a command.
    #[n(9)]
    pub agent_shells: u64,
    /// `CLOCK_REALTIME` now, nanoseconds since 1970.
    #[n(10)]
    pub clock_ns: u64,
}

/// How a request ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{message}")]
#[cbor(map)]
pub struct Failure {
    /// What kind of failure, for programs.
    #[n(0)]
    pub code: FailureCode,
    /// What failed, for people: the operation, its object and the cause. One line.
    #[n(1)]
    pub message: String,
    /// For waits: what was last seen, as one or a few lines.
    #[n(2)]
    pub last_seen: Option<String>,
}

/// The kinds of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FailureCode {
    /// The deadline passed.
    #[n(0)]
    TimedOut,
    /// The host cancelled the request.
    #[n(1)]
    Cancelled,
    /// The object (program, file, user, interface) does not exist.
    #[n(2)]
    NotFound,
    /// The guest's kernel refused: permissions.
    #[n(3)]
    Denied,
    /// No space left.
    #[n(4)]
    NoSpace,
    /// The request itself is wrong (a NUL in an argument, a bad regular expression, …).
    #[n(5)]
    Invalid,
    /// The agent or the guest's kernel cannot do this.
    #[n(6)]
    Unsupported,
    /// Any other error of the guest's operating system.
    #[n(7)]
    Os,
}
