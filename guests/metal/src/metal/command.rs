//! What the guest can be asked to run.

use attest_metal_guest::message::{Exec, Stats};
use attest_metal_guest::pattern;
use attest_metal_guest::text::{Text, number};

use crate::card::{self, Card};
use crate::channels::{Echo, Work};
use crate::clock::Clock;
use crate::disk::{self, Disk};
use crate::end::{self, End};
use crate::interrupts;
use crate::memory::{DIRTY, PAGE, Region};
use crate::serial;
use crate::start::Start;
use crate::virtio::Devices;

const MEBIBYTE: usize = 1024 * 1024;
/// Longest output but of `cat`.
pub(crate) const LONGEST: usize = 4096;

/// A short text.
pub(crate) type Line = Text<64>;
/// The output of a command.
pub(crate) type Output = Text<LONGEST>;

/// What a command leaves at once.
pub(crate) enum Begun {
    /// It has ended with this code.
    Ended(u8),
    /// It takes a while.
    Works(Work),
    /// It ends, and then the machine does.
    Ends(End),
    /// There is no such command.
    Unknown,
}

/// What commands see and change.
#[derive(Debug)]
pub(crate) struct Machine {
    start: Start,
    devices: Devices,
    pub(crate) clock: Clock,
    began: u64,
    count: u64,
    dirty: Dirty,
    /// The wall clock, as it was set last, and when.
    wall: (u64, u64),
    seed: u64,
    disks: [Option<Disk>; disk::MOST],
    cards: [Option<Card>; card::MOST],
}

/// What `dirty` wrote: both ends of each page, because an emulator takes half a second for all of a MiB.
#[derive(Debug, Clone, Copy, Default)]
struct Dirty {
    mebibytes: usize,
    seed: u64,
}

/// Bytes at each end of a page.
const END: usize = 64;
/// Pages that a turn of the main loop takes.
const PAGES: usize = 64;

/// How far a turn came.
enum Pages {
    /// There are more, from this one on.
    To(usize),
    /// All are as they should be.
    Whole,
    /// What is at this address is not what was written.
    Broken(u64),
}

impl Dirty {
    /// Look at some pages, from this one on, with `see`, which is given a piece and its word, and says
    /// whether it is right.
    fn pages(&self, from: usize, see: impl Fn(Region, u64) -> bool) -> Pages {
        let all = self.mebibytes * MEBIBYTE / PAGE;
        for page in from..all.min(from + PAGES) {
            let place = Region::of(DIRTY + page * PAGE, PAGE);
            let word = pattern::word(self.seed, page as u64);
            for end in [place.part(0, END), place.part(PAGE - END, END)] {
                if !see(end, word) {
                    return Pages::Broken(end.address());
                }
            }
        }
        if from + PAGES < all {
            Pages::To(from + PAGES)
        } else {
            Pages::Whole
        }
    }
}

impl Machine {
    /// As it was found.
    pub(crate) fn new(start: Start, devices: Devices, clock: &Clock) -> Self {
        Self {
            start,
            devices,
            clock: *clock,
            began: clock.now(),
            count: 0,
            dirty: Dirty::default(),
            wall: (0, 0),
            seed: 0,
            disks: [const { None }; disk::MOST],
            cards: [const { None }; card::MOST],
        }
    }

    /// See to the cards that are in use.
    pub(crate) fn step(&mut self) {
        self.cards.iter_mut().flatten().for_each(Card::count);
    }

    /// Set the wall clock.
    pub(crate) fn set_clock(&mut self, nanoseconds: u64) {
        self.wall = (nanoseconds, self.clock.now());
    }

    /// Remember entropy.
    pub(crate) fn reseed(&mut self, entropy: &[u8]) {
        self.seed = pattern::hash(entropy);
    }

    /// Measurements; what the agent knows itself is left 0.
    pub(crate) fn stats(&self) -> Stats {
        let now = self.clock.now();
        let (set, at) = self.wall;
        Stats {
            uptime_ns: now,
            userspace_ns: self.began,
            agent_ns: 0,
            memory_total: self.start.memory,
            memory_available: self.start.memory.saturating_sub(DIRTY as u64),
            agent_rss: DIRTY as u64,
            agent_tracked: 0,
            clock_ns: if set == 0 { 0 } else { set + (now - at) },
        }
    }

    /// Begin a command. What it says at once is put into `out`.
    pub(crate) fn run(&mut self, exec: &Exec<'_>, out: &mut Output) -> Begun {
        let mut words = [&b""[..]; 3];
        let mut count = 0;
        exec.words(|word| {
            if let Some(place) = words.get_mut(count) {
                *place = word;
            }
            count += 1;
        });
        let [name, argument, text] = words;
        let amount = number(argument).and_then(|amount| usize::try_from(amount).ok());
        match (name, amount) {
            (b"cat", _) if exec.stdin => Begun::Works(Work::Echo(Echo::default())),
            (b"true" | b"cat", _) => Begun::Ended(0),
            (b"false", _) => Begun::Ended(1),
            (b"echo", _) => echo(exec, out),
            (b"hang", _) => Begun::Works(Work::Hang),
            (b"count", _) => {
                self.count += 1;
                say(out, self.count)
            }
            (b"dirty", Some(mebibytes)) => self.begin_dirty(mebibytes, out),
            (b"check", _) => Begun::Works(Work::Check(0)),
            (b"clock", _) => say(out, self.wall.0),
            (b"seed", _) => {
                out.hex(self.seed, 16).put(b"\n");
                Begun::Ended(0)
            }
            (b"memory", _) => say(out, self.start.memory),
            (b"cmdline", _) => {
                out.put(self.start.command_line).put(b"\n");
                Begun::Ended(0)
            }
            (b"devices", _) => {
                self.devices.list(out);
                Begun::Ended(0)
            }
            (b"serial", Some(kibibytes)) => {
                let lines = kibibytes * 1024 / pattern::LINE;
                Begun::Works(Work::Serial(0, u32::try_from(lines).unwrap_or(u32::MAX)))
            }
            (b"key", _) => Begun::Works(Work::Key),
            (b"read" | b"write", Some(index)) => {
                let text = (name == b"write").then_some(text);
                self.disk(index, text, out)
            }
            (b"send" | b"received", Some(index)) => self.card(index, name == b"send", out),
            (b"off", _) => Begun::Ends(End::PowerOff),
            (b"reset", _) => end::reset(),
            (b"crash", _) => interrupts::crash(),
            (b"panic", _) => {
                serial::print(b"Kernel panic - not syncing: asked for\r\n");
                end::reset()
            }
            (b"dirty" | b"serial" | b"read" | b"write" | b"send" | b"received", None) => {
                out.put(name).put(b" takes a number\n");
                Begun::Ended(2)
            }
            _ => Begun::Unknown,
        }
    }

    fn disk(&mut self, index: usize, text: Option<&[u8]>, out: &mut Output) -> Begun {
        let Some(disk) = used(&mut self.disks, index, || Disk::begin(&self.devices, index)) else {
            return absent(out);
        };
        let outcome = match text {
            None => disk.read(&self.clock).map(|bytes| {
                for byte in bytes {
                    out.hex((*byte).into(), 2);
                }
                out.put(b"\n");
            }),
            Some(text) => disk.write(text, &self.clock),
        };
        match outcome {
            Ok(()) => Begun::Ended(0),
            Err(status) => {
                out.put(b"failed with status ")
                    .decimal(status.into())
                    .put(b"\n");
                Begun::Ended(1)
            }
        }
    }

    fn card(&mut self, index: usize, sends: bool, out: &mut Output) -> Begun {
        let Some(card) = used(&mut self.cards, index, || Card::begin(&self.devices, index)) else {
            return absent(out);
        };
        if sends {
            card.send();
            return Begun::Ended(0);
        }
        card.count();
        say(out, card.received)
    }

    fn begin_dirty(&mut self, mebibytes: usize, out: &mut Output) -> Begun {
        let most = self.start.end.saturating_sub(DIRTY) / MEBIBYTE;
        if mebibytes > most {
            out.put(b"there are ").decimal(most as u64).put(b"\n");
            return Begun::Ended(2);
        }
        let seed = self.clock.now();
        self.dirty = Dirty { mebibytes, seed };
        Begun::Works(Work::Dirty(0))
    }

    /// Write to some pages, or look at them; the code and the words of the end, if it has come.
    pub(crate) fn pages(&self, from: &mut usize, writes: bool) -> Option<(u8, Line)> {
        let came = self.dirty.pages(*from, |place, word| {
            if writes {
                place.fill(word);
            }
            writes || place.is_full_of(word)
        });
        let mut line = Line::new();
        let code = match came {
            Pages::To(page) => {
                *from = page;
                return None;
            }
            Pages::Whole => {
                line.put(if writes { b"dirty " } else { b"whole " });
                line.decimal(self.dirty.mebibytes as u64);
                0
            }
            Pages::Broken(address) => {
                line.put(b"broken at 0x").hex(address, 8);
                1
            }
        };
        line.put(b"\n");
        Some((code, line))
    }
}

/// What is in use, or is taken into use now.
fn used<T>(
    places: &mut [Option<T>],
    index: usize,
    begin: impl FnOnce() -> Option<T>,
) -> Option<&mut T> {
    let place = places.get_mut(index)?;
    if place.is_none() {
        *place = begin();
    }
    place.as_mut()
}

fn absent(out: &mut Output) -> Begun {
    out.put(b"no such device\n");
    Begun::Ended(1)
}

fn say(out: &mut Output, number: u64) -> Begun {
    out.decimal(number).put(b"\n");
    Begun::Ended(0)
}

fn echo(exec: &Exec<'_>, out: &mut Output) -> Begun {
    let mut at = 0;
    exec.words(|word| {
        if at > 1 {
            out.put(b" ");
        }
        if at > 0 {
            out.put(word);
        }
        at += 1;
    });
    out.put(b"\n");
    Begun::Ended(0)
}
