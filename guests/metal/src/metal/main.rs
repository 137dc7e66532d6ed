//! The program: from the first instruction to an agent that a host can drive. See the README beside.
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses have 64 bits here, and lengths are those of buffers"
)]

mod agent;
mod boot;
mod card;
mod channels;
mod clock;
mod command;
mod cpu;
mod disk;
mod end;
mod interrupts;
mod memory;
mod outlet;
mod paging;
mod panic;
mod serial;
mod start;
mod virtio;
mod vsock;

use agent::Agent;
use clock::{Clock, MILLISECOND};
use command::Machine;
use outlet::Outlet;
use start::Start;
use vsock::Vsock;

/// With nothing to wait for, the loop turns this often: what an interrupt that was lost would cost.
const GUARD: u64 = 1000 * MILLISECOND;

/// Called by the code in `boot.rs`, in long mode.
extern "C" fn run(start_info: usize) -> ! {
    interrupts::begin();
    paging::begin();
    interrupts::begin_local();
    serial::begin();
    let clock = Clock::begin();
    let start = Start::read(start_info);
    serial::print(b"attest metal guest\r\n");
    let devices = virtio::find(start.command_line);
    let Some(device) = devices.first(virtio::VSOCK) else {
        serial::print(b"no vsock device\r\n");
        cpu::stop();
    };
    let mut vsock = Vsock::begin(device, &clock);
    if let Some(address) = start.option(b"attest.boot-timer=") {
        virtio::tell_boot_timer(address);
    }
    let mut outlet = Outlet::begin();
    let mut agent = Agent::new(Machine::new(start, devices, &clock));
    loop {
        let now = clock.now();
        let mut busy = vsock.receive(now, &mut agent, &mut outlet);
        busy |= agent.step(now, &mut outlet);
        vsock.send(now, &mut agent, &mut outlet);
        if !busy {
            let next = vsock.deadline(now).min(agent.deadline());
            let pause = next.saturating_sub(clock.now()).min(GUARD);
            if pause > 0 {
                interrupts::wait(pause);
            }
        }
    }
}
