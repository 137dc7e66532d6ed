//! Commands that take a while: each turn of the main loop does a piece of each.

use attest_metal_guest::frame::{MAX_PAYLOAD, WINDOW, cost, kind};
use attest_metal_guest::message::{Answer, LONGEST, Reason, Status};
use attest_metal_guest::pattern;

use crate::command::{Line, Machine};
use crate::memory::{ECHOES, Region};
use crate::outlet::Outlet;
use crate::serial;

const MOST: usize = 32;
/// The first of them can echo: each has a window of bytes to keep.
const ECHOING: usize = 8;
/// What echoed bytes leave of the outlet for all else.
const LEAVE: usize = 128 * 1024;
const SIGTERM: u8 = 15;

/// What a command does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Nothing, until it is cancelled or its time is over.
    Hang,
    /// Send back what comes.
    Echo(Echo),
    /// Fill pages, from this one on.
    Dirty(usize),
    /// Look at pages, from this one on.
    Check(usize),
    /// Say which byte comes on the serial port.
    Key,
    /// Print lines, from one on up to another.
    Serial(u32, u32),
}

/// Bytes that came and were not sent back yet, as positions that only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Echo {
    from: usize,
    to: usize,
    ended: bool,
    /// Window to give back to the host.
    owed: usize,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: u32,
    is_shell: bool,
    began: u64,
    /// When its time is over.
    ends: u64,
    /// What the host still takes of its stdout.
    window: usize,
    work: Work,
}

/// Those that are open.
#[derive(Debug)]
pub(crate) struct Channels([Option<Channel>; MOST]);

/// Answer a request.
pub(crate) fn finish(channel: u32, answer: &Answer<'_>, outlet: &mut Outlet) {
    let mut payload = [0; LONGEST];
    if let Some(length) = answer.encode(&mut payload) {
        outlet.frame(kind::FINISHED, channel, &payload[..length]);
    } else {
        outlet.broken = true;
    }
}

impl Channel {
    fn exit(&self, code: u8, now: u64, outlet: &mut Outlet) {
        self.end(Status::Code(code), false, now, outlet);
    }

    fn end_by(&self, signal: u8, timed_out: bool, now: u64, outlet: &mut Outlet) {
        let status = if self.is_shell {
            Status::Code(128 + signal)
        } else {
            Status::Signal(signal)
        };
        self.end(status, timed_out, now, outlet);
    }

    fn end(&self, status: Status, timed_out: bool, now: u64, outlet: &mut Outlet) {
        let duration_ns = now - self.began;
        let answer = Answer::Exited {
            status,
            timed_out,
            duration_ns,
        };
        finish(self.number, &answer, outlet);
    }

    /// Do a piece of the work; whether that was the last.
    fn step(
        &mut self,
        index: usize,
        now: u64,
        machine: &mut Machine,
        outlet: &mut Outlet,
    ) -> (bool, bool) {
        let writes = matches!(self.work, Work::Dirty(_));
        match &mut self.work {
            Work::Hang => return (false, false),
            Work::Echo(echo) => {
                let place = echo_place(index);
                let mut busy = false;
                while echo.to != echo.from && self.window >= cost(0) && outlet.room() > LEAVE {
                    let at = echo.from % WINDOW;
                    let waiting = echo.to.wrapping_sub(echo.from).min(WINDOW - at);
                    let length = waiting
                        .min(self.window)
                        .min(MAX_PAYLOAD)
                        .min(outlet.room() - LEAVE);
                    outlet.frame(kind::DATA_OUT, self.number, place.bytes(at, length));
                    self.window -= cost(length);
                    echo.from = echo.from.wrapping_add(length);
                    echo.owed += length;
                    busy = true;
                }
                if echo.owed >= WINDOW / 2 {
                    let mut payload = [0; 5];
                    payload[1..].copy_from_slice(&(echo.owed as u32).to_le_bytes());
                    outlet.frame(kind::CREDIT, self.number, &payload);
                    echo.owed = 0;
                }
                if echo.ended && echo.to == echo.from {
                    self.exit(0, now, outlet);
                    return (true, true);
                }
                return (busy, false);
            }
            Work::Dirty(page) | Work::Check(page) => {
                if let Some((code, text)) = machine.pages(page, writes) {
                    outlet.frame(kind::DATA_OUT, self.number, text.bytes());
                    self.exit(code, now, outlet);
                    return (true, true);
                }
            }
            Work::Key => {
                let Some(byte) = serial::input() else {
                    return (false, false);
                };
                let mut line = Line::new();
                line.decimal(byte.into()).put(b"\n");
                outlet.frame(kind::DATA_OUT, self.number, line.bytes());
                self.exit(0, now, outlet);
                return (true, true);
            }
            Work::Serial(line, end) => {
                if *line == *end {
                    self.exit(0, now, outlet);
                    return (true, true);
                }
                serial::print(&pattern::line(*line));
                *line += 1;
            }
        }
        (true, false)
    }
}

fn echo_place(index: usize) -> Region {
    ECHOES.part(index * WINDOW, WINDOW)
}

impl Channels {
    /// None is open.
    pub(crate) const fn new() -> Self {
        Self([const { None }; MOST])
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// All are gone, with the session.
    pub(crate) fn clear(&mut self) {
        self.0 = [const { None }; MOST];
    }

    /// When the time of one is over.
    pub(crate) fn deadline(&self) -> u64 {
        let ends = self.0.iter().flatten().map(|channel| channel.ends);
        ends.min().unwrap_or(u64::MAX)
    }

    /// Open one; whether there is room.
    pub(crate) fn open(
        &mut self,
        number: u32,
        is_shell: bool,
        now: u64,
        ends: u64,
        work: Work,
    ) -> bool {
        let (echoing, others) = self.0.split_at_mut(ECHOING);
        let places = if matches!(work, Work::Echo(_)) {
            echoing
        } else {
            others
        };
        let Some(place) = places.iter_mut().find(|place| place.is_none()) else {
            return false;
        };
        *place = Some(Channel {
            number,
            is_shell,
            began: now,
            ends,
            window: WINDOW,
            work,
        });
        true
    }

    fn find(&mut self, number: u32) -> Option<(usize, &mut Option<Channel>)> {
        let is_it =
            |place: &Option<Channel>| matches!(place, Some(channel) if channel.number == number);
        self.0
            .iter_mut()
            .enumerate()
            .find(|(_, place)| is_it(place))
    }

    /// A part of a frame of bytes for a command.
    pub(crate) fn data(&mut self, number: u32, bytes: &[u8], frame: Option<usize>) {
        let Some((index, Some(channel))) = self.find(number) else {
            return;
        };
        let Work::Echo(echo) = &mut channel.work else {
            return;
        };
        let place = echo_place(index);
        let at = echo.to % WINDOW;
        let (now, later) = bytes.split_at(bytes.len().min(WINDOW - at));
        place.put(at, now);
        place.put(0, later);
        echo.to = echo.to.wrapping_add(bytes.len());
        if let Some(length) = frame {
            // Small frames take more of the window than their bytes.
            echo.owed += cost(length) - length;
        }
    }

    /// No more bytes for a command.
    pub(crate) fn eof(&mut self, number: u32) {
        if let Some((_, Some(channel))) = self.find(number)
            && let Work::Echo(echo) = &mut channel.work
        {
            echo.ended = true;
        }
    }

    /// The host takes more of a command's stdout.
    pub(crate) fn credit(&mut self, number: u32, bytes: usize) {
        if let Some((_, Some(channel))) = self.find(number) {
            channel.window += bytes;
        }
    }

    /// The host no longer wants it.
    pub(crate) fn cancel(&mut self, number: u32, outlet: &mut Outlet) {
        if let Some((_, place)) = self.find(number) {
            *place = None;
            let answer = Answer::Failed(Reason::Cancelled, b"cancelled");
            finish(number, &answer, outlet);
        }
    }

    /// A signal ends it.
    pub(crate) fn signal(&mut self, number: u32, signal: u8, now: u64, outlet: &mut Outlet) {
        if let Some((_, place)) = self.find(number)
            && let Some(channel) = place.take()
        {
            channel.end_by(signal, false, now, outlet);
        }
    }

    /// Do a piece of each; whether there was anything to do.
    pub(crate) fn step(&mut self, now: u64, machine: &mut Machine, outlet: &mut Outlet) -> bool {
        let mut any = false;
        for (index, place) in self.0.iter_mut().enumerate() {
            let Some(channel) = place else { continue };
            if channel.ends <= now {
                channel.end_by(SIGTERM, true, now, outlet);
                *place = None;
                continue;
            }
            let (busy, ended) = channel.step(index, now, machine, outlet);
            if ended {
                *place = None;
            }
            any |= busy;
        }
        any
    }
}
