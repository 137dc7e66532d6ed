//! The agent's side of a session: hello, and an answer to each request.

use attest_metal_guest::frame::{Decoder, Event, kind};
use attest_metal_guest::message::{
    self, Answer, Exec, Hello, KNOCK, LONGEST, Reason, Request, Status,
};
use attest_metal_guest::pattern::hash;
use attest_metal_guest::text::Text;

use crate::channels::{Channels, finish};
use crate::clock::MILLISECOND;
use crate::command::{Begun, Line, Machine, Output};
use crate::cpu;
use crate::end::End;
use crate::memory::MESSAGE;
use crate::outlet::Outlet;

/// As the real agent: the pause before hello is said again, doubled up to the last.
const HELLO_AGAIN: (u64, u64) = (50 * MILLISECOND, 1000 * MILLISECOND);

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    machine: Machine,
    decoder: Decoder,
    in_session: bool,
    boot: u64,
    nonce: u64,
    /// When hello is said again, and the pause after that.
    hello: (u64, u64),
    /// When it was said first.
    greeted: u64,
    /// What has arrived of a message that comes in parts.
    gathered: usize,
    channels: Channels,
    end: Option<End>,
    process: u32,
    /// What a command says at once: kept, because to clear it takes longer than most commands.
    output: Output,
}

impl Agent {
    /// Without a connection.
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            decoder: Decoder::new(),
            in_session: false,
            boot: random(),
            nonce: 0,
            hello: (u64::MAX, 0),
            greeted: 0,
            gathered: 0,
            channels: Channels::new(),
            end: None,
            process: 1,
            output: Output::new(),
        }
    }

    /// What the host has asked the machine to do, when all is said.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// When to do something, if nothing comes.
    pub(crate) fn deadline(&self) -> u64 {
        self.hello.0.min(self.channels.deadline())
    }

    /// The connection is gone.
    pub(crate) fn lose(&mut self) {
        self.decoder.search();
        self.channels.clear();
        self.in_session = false;
        self.hello.0 = u64::MAX;
        self.gathered = 0;
    }

    /// There is a new connection, or the host wants a new session.
    pub(crate) fn begin(&mut self, now: u64, outlet: &mut Outlet) {
        self.lose();
        self.nonce = random();
        self.hello.1 = HELLO_AGAIN.0;
        if self.greeted == 0 {
            self.greeted = now;
        }
        self.greet(now, outlet);
    }

    fn greet(&mut self, now: u64, outlet: &mut Outlet) {
        let mut boot_id = Text::<32>::new();
        boot_id.hex(self.boot, 16);
        let hello = Hello {
            nonce: self.nonce,
            boot_id: boot_id.bytes(),
            uptime_ns: now,
        };
        let mut payload = [0; LONGEST];
        if let Some(length) = hello.encode(&mut payload) {
            outlet.greet(kind::HELLO, &payload[..length]);
        }
        let pause = self.hello.1;
        self.hello = (now + pause, HELLO_AGAIN.1.min(pause * 2));
    }

    /// Do what is due; whether there was anything.
    pub(crate) fn step(&mut self, now: u64, outlet: &mut Outlet) -> bool {
        if self.hello.0 <= now {
            self.greet(now, outlet);
        }
        self.machine.step();
        self.channels.step(now, &mut self.machine, outlet)
    }

    /// Bytes from the host.
    pub(crate) fn receive(&mut self, now: u64, mut bytes: &[u8], outlet: &mut Outlet) {
        while let Some(event) = self.decoder.next(&mut bytes) {
            let Event::Part { head, bytes, last } = event else {
                self.begin(now, outlet);
                continue;
            };
            if head.kind == kind::DATA_IN {
                self.channels
                    .data(head.channel, bytes, last.then_some(head.length));
            } else if bytes.len() == head.length {
                self.message(now, head.kind, head.channel, bytes, outlet);
            } else {
                MESSAGE.put(self.gathered, bytes);
                self.gathered += bytes.len();
                if last {
                    let whole = MESSAGE.bytes(0, self.gathered);
                    self.gathered = 0;
                    self.message(now, head.kind, head.channel, whole, outlet);
                }
            }
        }
    }

    fn message(&mut self, now: u64, kind: u8, channel: u32, payload: &[u8], outlet: &mut Outlet) {
        match (kind, payload) {
            (kind::WELCOME, _) => self.welcome(now, message::welcome(payload), outlet),
            (kind::OPEN, _) => self.open(now, channel, payload, outlet),
            (kind::EOF, [0]) => self.channels.eof(channel),
            (kind::CREDIT, [1, a, b, c, d]) => {
                let bytes = u32::from_le_bytes([*a, *b, *c, *d]);
                self.channels.credit(channel, bytes as usize);
            }
            (kind::CONTROL, _) => {
                let signal = message::signal(payload).and_then(|signal| u8::try_from(signal).ok());
                if let Some(signal @ 1..=64) = signal {
                    self.channels.signal(channel, signal, now, outlet);
                }
            }
            (kind::CANCEL, _) => self.channels.cancel(channel, outlet),
            _ => {}
        }
    }

    fn welcome(&mut self, now: u64, nonce: Option<u64>, outlet: &mut Outlet) {
        if nonce == Some(KNOCK) {
            self.begin(now, outlet);
        } else if nonce == Some(self.nonce) {
            self.in_session = true;
            self.hello.0 = u64::MAX;
        } else if !self.in_session {
            // The answer to a hello of a former life.
            self.decoder.search();
        }
    }

    fn open(&mut self, now: u64, channel: u32, payload: &[u8], outlet: &mut Outlet) {
        let answer = match Request::decode(payload) {
            Some(Request::Exec(exec)) => return self.exec(now, channel, &exec, outlet),
            Some(Request::Setup(clock, entropy)) => {
                if clock != 0 {
                    self.machine.set_clock(clock);
                }
                if let Some(entropy) = entropy {
                    self.machine.reseed(entropy);
                }
                Answer::Done
            }
            Some(Request::SetClock(clock)) => {
                self.machine.set_clock(clock);
                Answer::Done
            }
            Some(Request::Reseed(entropy)) => {
                self.machine.reseed(entropy);
                Answer::Done
            }
            Some(Request::Nothing) => Answer::Done,
            Some(Request::PowerOff) => {
                self.end = Some(End::PowerOff);
                Answer::Done
            }
            Some(Request::Reboot) => {
                self.end = Some(End::Reboot);
                Answer::Done
            }
            Some(Request::Stats) => {
                let mut stats = self.machine.stats();
                stats.agent_ns = self.greeted;
                stats.agent_tracked = self.channels.count() as u64;
                Answer::Stats(stats)
            }
            Some(Request::Quiesce) => Answer::Quiesced,
            Some(Request::Identity) => {
                let mut token = Text::<32>::new();
                token.hex(random(), 16).hex(random(), 16);
                return finish(channel, &Answer::Identity(token.bytes()), outlet);
            }
            Some(Request::Unsupported) => Answer::Failed(
                Reason::Unsupported,
                b"a guest without an operating system cannot do this",
            ),
            None => Answer::Failed(Reason::Invalid, b"a request that cannot be read"),
        };
        finish(channel, &answer, outlet);
    }

    fn exec(&mut self, now: u64, channel: u32, exec: &Exec<'_>, outlet: &mut Outlet) {
        let out = &mut self.output;
        out.clear();
        let begun = self.machine.run(exec, out);
        if let Begun::Unknown = begun
            && !exec.is_shell()
        {
            return finish(
                channel,
                &Answer::Failed(Reason::NotFound, b"no such program in this guest"),
                outlet,
            );
        }
        self.process += 1;
        let mut notice = [0; 16];
        if let Some(length) = message::started(self.process, &mut notice) {
            outlet.frame(kind::NOTICE, channel, &notice[..length]);
        }
        if !out.bytes().is_empty() {
            outlet.frame(kind::DATA_OUT, channel, out.bytes());
        }
        let code = match begun {
            Begun::Ended(code) => code,
            Begun::Ends(end) => {
                self.end = Some(end);
                0
            }
            Begun::Unknown => {
                let mut line = Line::new();
                line.put(b"command not found\n");
                outlet.frame(kind::DATA_ERR, channel, line.bytes());
                127
            }
            Begun::Works(work) => {
                let time = exec
                    .timeout_ms
                    .map_or(u64::MAX, |time| time.saturating_mul(MILLISECOND));
                let ends = now.saturating_add(time);
                if !self
                    .channels
                    .open(channel, exec.is_shell(), now, ends, work)
                {
                    let answer = Answer::Failed(Reason::Os, b"too many commands at once");
                    finish(channel, &answer, outlet);
                }
                return;
            }
        };
        let answer = Answer::Exited {
            status: Status::Code(code),
            timed_out: false,
            duration_ns: self.machine.clock.now() - now,
        };
        finish(channel, &answer, outlet);
    }
}

/// Another number each time, and not 0: enough to tell sessions apart.
fn random() -> u64 {
    hash(&cpu::ticks().to_le_bytes()) | 1
}
