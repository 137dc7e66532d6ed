//! One stream to the host over virtio-vsock (virtio 1.2, 5.10). The guest connects out and listens on
//! the same port: the newest connection is the one that counts.

use attest_metal_guest::frame::MAX_PAYLOAD;

use crate::agent::Agent;
use crate::clock::{Clock, MILLISECOND};
use crate::cpu;
use crate::memory::{PACKETS, QUEUES, Region};
use crate::outlet::Outlet;
use crate::virtio::Device;
use crate::virtio::queue::Queue;

/// The host's address, and attest's port on both sides.
const HOST: u64 = 2;
const PORT: u32 = 1024;
const HEADER: usize = 44;
/// Packets from the host that may wait, what each may have (Firecracker fills all, and takes no more
/// than this for a packet), and the bytes from one to the next.
const INCOMING: u16 = 8;
const INCOMING_SIZE: usize = HEADER + 64 * 1024;
const INCOMING_STEP: usize = INCOMING_SIZE.next_multiple_of(64);
/// Packets to the host that may be under way: each has two descriptors.
const OUTGOING: u16 = 8;
/// Headers of packets to the host lie behind the pages of queues; events before them.
const HEADERS: usize = 0x3_8000;
const EVENTS: usize = 0x3_7000;
const EVENT_SIZE: usize = 4;
/// Bytes that the host may send ahead.
const WINDOW: u32 = 256 * 1024;
/// Pauses before connecting again after being refused.
const AGAIN: (u64, u64) = (4 * MILLISECOND, 64 * MILLISECOND);
/// How long the host may take to answer.
const PATIENCE: u64 = 2000 * MILLISECOND;
/// While the device has all packets that may be under way, it is looked at this often: it does not
/// interrupt for them.
const FULL: u64 = MILLISECOND;

/// What a packet is for.
mod op {
    pub(super) const REQUEST: u16 = 1;
    pub(super) const RESPONSE: u16 = 2;
    pub(super) const RESET: u16 = 3;
    pub(super) const SHUTDOWN: u16 = 4;
    pub(super) const DATA: u16 = 5;
    pub(super) const CREDIT: u16 = 6;
    pub(super) const ASK_CREDIT: u16 = 7;
}
/// Of a shutdown: neither sends nor receives.
const BOTH: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Connects when this time has come.
    Down(u64),
    /// Has asked, and asks anew when this time has come.
    Asking(u64),
    Up,
    /// For good.
    Closed,
}

/// Both ends and their credits.
#[derive(Debug, Clone, Copy, Default)]
struct Connection {
    local: u32,
    peer: u32,
    sent: u32,
    received: u32,
    /// `received`, as the host was told last.
    told: u32,
    peer_window: u32,
    peer_received: u32,
    asked: bool,
}

#[derive(Clone, Copy)]
struct Packet {
    peer: u32,
    local: u32,
    length: usize,
    op: u16,
    window: u32,
    received: u32,
}

impl Packet {
    fn read(from: Region) -> Self {
        Self {
            peer: from.read(16),
            local: from.read(20),
            length: from.read::<u32>(24) as usize,
            op: from.read(30),
            window: from.read(36),
            received: from.read(40),
        }
    }
}

/// The device with its connection.
#[derive(Debug)]
pub(crate) struct Vsock {
    device: Device,
    incoming: Queue,
    outgoing: Queue,
    events: Queue,
    guest: u32,
    state: State,
    connection: Connection,
    /// The port that the next connection comes from.
    next_port: u32,
    pause: u64,
    /// Packets given to the device and not yet back, and the number of the next.
    under_way: u16,
    next: u16,
    /// Of each of them, what it has of the outlet.
    lengths: [usize; OUTGOING as usize],
}

impl Vsock {
    /// Set it up.
    pub(crate) fn begin(device: Device, clock: &Clock) -> Self {
        device.begin();
        let [mut incoming, outgoing, mut events] =
            [0, 1, 2].map(|index| device.queue(index, index.into()));
        outgoing.quiet();
        device.ready();
        for at in 0..INCOMING {
            let place = PACKETS.part(usize::from(at) * INCOMING_STEP, INCOMING_SIZE);
            incoming.describe(at, place, true, false);
            incoming.give(at);
        }
        incoming.ring();
        for at in 0..2 {
            let place = QUEUES.part(EVENTS + usize::from(at) * 8, EVENT_SIZE);
            events.describe(at, place, true, false);
            events.give(at);
        }
        events.ring();
        Self {
            guest: device.configuration(0),
            device,
            incoming,
            outgoing,
            events,
            state: State::Down(clock.now()),
            connection: Connection::default(),
            next_port: 0x1_0000 | cpu::ticks() as u32 & 0xffff,
            pause: AGAIN.0,
            under_way: 0,
            next: 0,
            lengths: [0; OUTGOING as usize],
        }
    }

    /// Take what has come; whether something has.
    pub(crate) fn receive(&mut self, now: u64, agent: &mut Agent, outlet: &mut Outlet) -> bool {
        let mut busy = false;
        while let Some((at, _)) = self.events.take() {
            // There is one event: the transport was reset, and all connections with it.
            self.guest = self.device.configuration(0);
            self.drop_connection(agent, outlet);
            self.state = State::Down(now);
            self.events.give(at);
            self.events.ring();
            busy = true;
        }
        let mut given = false;
        while let Some((at, _)) = self.incoming.take() {
            let place = PACKETS.part(usize::from(at) * INCOMING_STEP, INCOMING_SIZE);
            self.packet(now, place, agent, outlet);
            self.incoming.give(at);
            given = true;
            self.reclaim(outlet);
        }
        if given {
            self.incoming.ring();
        }
        busy | given
    }

    fn packet(&mut self, now: u64, place: Region, agent: &mut Agent, outlet: &mut Outlet) {
        let packet = Packet::read(place);
        let connection = self.connection;
        let known = matches!(self.state, State::Up | State::Asking(_))
            && (packet.peer, packet.local) == (connection.peer, connection.local);
        if packet.op == op::REQUEST && packet.local == PORT && self.state != State::Closed {
            if matches!(self.state, State::Up | State::Asking(_)) && !known {
                self.control(op::RESET, outlet);
            }
            self.drop_connection(agent, outlet);
            self.connection = Connection {
                local: packet.local,
                peer: packet.peer,
                ..Connection::default()
            };
            self.credit(&packet);
            self.control(op::RESPONSE, outlet);
            self.up(now, agent, outlet);
            return;
        }
        if !known {
            if packet.op != op::RESET {
                self.connection = Connection {
                    local: packet.local,
                    peer: packet.peer,
                    ..Connection::default()
                };
                self.control(op::RESET, outlet);
                self.connection = connection;
            }
            return;
        }
        self.credit(&packet);
        match packet.op {
            op::RESPONSE if self.state != State::Up => self.up(now, agent, outlet),
            op::DATA if self.state == State::Up => {
                let length = packet.length.min(MAX_PAYLOAD);
                agent.receive(now, place.bytes(HEADER, length), outlet);
                self.connection.received = self.connection.received.wrapping_add(length as u32);
                let untold = self.connection.received.wrapping_sub(self.connection.told);
                if untold >= WINDOW / 4 {
                    self.control(op::CREDIT, outlet);
                }
            }
            op::ASK_CREDIT => self.control(op::CREDIT, outlet),
            op::SHUTDOWN | op::REQUEST => {
                self.control(op::RESET, outlet);
                self.down(now, agent, outlet);
            }
            op::RESET => self.down(now, agent, outlet),
            _ => {}
        }
    }

    fn credit(&mut self, packet: &Packet) {
        self.connection.peer_window = packet.window;
        self.connection.peer_received = packet.received;
        self.connection.asked = false;
    }

    fn up(&mut self, now: u64, agent: &mut Agent, outlet: &mut Outlet) {
        self.state = State::Up;
        self.pause = AGAIN.0;
        agent.begin(now, outlet);
    }

    /// The connection has ended, or was refused: connect again in a moment.
    fn down(&mut self, now: u64, agent: &mut Agent, outlet: &mut Outlet) {
        if self.state == State::Up {
            self.state = State::Down(now);
        } else {
            self.state = State::Down(now + self.pause);
            self.pause = AGAIN.1.min(self.pause * 2);
        }
        self.drop_connection(agent, outlet);
    }

    /// What is under way belongs to the old connection; the device gives it back soon.
    fn drop_connection(&mut self, agent: &mut Agent, outlet: &mut Outlet) {
        agent.lose();
        while self.under_way > 0 {
            self.reclaim(outlet);
            cpu::pause();
        }
        *outlet = Outlet::begin();
    }

    /// Connect if it is time to, and send what waits.
    pub(crate) fn send(&mut self, now: u64, agent: &mut Agent, outlet: &mut Outlet) {
        self.reclaim(outlet);
        if outlet.broken && self.state == State::Up {
            self.control(op::RESET, outlet);
            self.down(now, agent, outlet);
        }
        match self.state {
            State::Down(time) | State::Asking(time) if time <= now => {
                self.next_port = self.next_port.wrapping_add(1) | 0x1_0000;
                self.connection = Connection {
                    local: self.next_port,
                    peer: PORT,
                    ..Connection::default()
                };
                self.control(op::REQUEST, outlet);
                self.state = State::Asking(now + PATIENCE);
            }
            State::Up => {
                self.send_data(outlet);
                if let Some(end) = agent.end()
                    && outlet.ring.waiting() == 0
                {
                    self.packet_out(op::SHUTDOWN, BOTH, None, outlet);
                    self.state = State::Closed;
                    self.drop_connection(agent, outlet);
                    end.come();
                }
            }
            _ => {}
        }
    }

    fn send_data(&mut self, outlet: &mut Outlet) {
        while outlet.ring.waiting() > 0 && self.under_way < OUTGOING {
            let ahead = self
                .connection
                .sent
                .wrapping_sub(self.connection.peer_received);
            let credit = self.connection.peer_window.saturating_sub(ahead) as usize;
            if credit == 0 {
                if !self.connection.asked {
                    self.connection.asked = true;
                    self.control(op::ASK_CREDIT, outlet);
                }
                return;
            }
            let place = outlet.next(credit.min(MAX_PAYLOAD));
            self.connection.sent = self.connection.sent.wrapping_add(place.size() as u32);
            self.packet_out(op::DATA, 0, Some(place), outlet);
            self.reclaim(outlet);
        }
    }

    fn control(&mut self, op: u16, outlet: &mut Outlet) {
        self.packet_out(op, 0, None, outlet);
    }

    fn packet_out(&mut self, op: u16, flags: u32, data: Option<Region>, outlet: &mut Outlet) {
        while self.under_way == OUTGOING {
            self.reclaim(outlet);
            cpu::pause();
        }
        let slot = self.next % OUTGOING;
        let length = data.map_or(0, Region::size);
        let header = QUEUES.part(HEADERS + usize::from(slot) * 64, HEADER);
        header.write(0, u64::from(self.guest));
        header.write(8, HOST);
        header.write(16, self.connection.local);
        header.write(20, self.connection.peer);
        header.write(24, length as u32);
        header.write(28, 1_u16);
        header.write(30, op);
        header.write(32, flags);
        header.write(36, WINDOW);
        header.write(40, self.connection.received);
        self.connection.told = self.connection.received;
        self.outgoing
            .describe(2 * slot, header, false, data.is_some());
        if let Some(data) = data {
            self.outgoing.describe(2 * slot + 1, data, false, false);
        }
        self.lengths[usize::from(slot)] = length;
        self.next = self.next.wrapping_add(1);
        self.under_way += 1;
        self.outgoing.give(2 * slot);
        self.outgoing.ring();
    }

    /// Take back what the device has sent; it does so in order.
    fn reclaim(&mut self, outlet: &mut Outlet) {
        while let Some((at, _)) = self.outgoing.take() {
            self.under_way -= 1;
            outlet
                .ring
                .free(self.lengths[usize::from(at / 2 % OUTGOING)]);
        }
    }

    /// When to look again, if no interrupt comes.
    pub(crate) fn deadline(&self, now: u64) -> u64 {
        match self.state {
            State::Down(time) | State::Asking(time) => time,
            State::Up if self.under_way == OUTGOING => now + FULL,
            State::Up | State::Closed => u64::MAX,
        }
    }
}
