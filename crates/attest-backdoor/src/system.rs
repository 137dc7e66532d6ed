//! The machine as a whole: what it is told, its end, and what it says of itself.

use std::time::Duration;

use attest_protocol::message::{Failure, Response, Setup, Stats};

use crate::failure::unsupported;
use crate::guest::{Guest, nanoseconds};
use crate::script::fed;

/// How long attest's own small lines may take.
const SOON: Duration = Duration::from_mins(1);
/// How long all dirty pages may take to be written.
const WRITTEN: Duration = Duration::from_mins(10);

/// The environment is kept, clock and entropy are given; who a machine is, its image says.
pub(crate) async fn set_up(guest: &Guest, setup: Setup) -> Result<Response, Failure> {
    if !setup.hostname.is_empty() || !setup.hosts.is_empty() {
        return Err(unsupported("a host name and the lab's names"));
    }
    if !setup.interfaces.is_empty() {
        return Err(unsupported("addresses of network cards"));
    }
    guest.set_environment(setup.environment);
    if setup.clock_ns > 0 {
        set_clock(guest, setup.clock_ns).await?;
    }
    if let Some(entropy) = setup.entropy {
        reseed(guest, &entropy).await?;
    }
    Ok(Response::Done)
}

pub(crate) async fn set_clock(guest: &Guest, ns: u64) -> Result<Response, Failure> {
    let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let script = format!("date -s @{seconds}.{rest:09} 2>&1 >/dev/null || date -s @{seconds} 2>&1");
    guest
        .demand(script.as_bytes(), "setting the clock", SOON)
        .await?;
    Ok(Response::Done)
}

/// Mixed in, but not credited, which no program of a usual guest can.
pub(crate) async fn reseed(guest: &Guest, entropy: &[u8]) -> Result<Response, Failure> {
    let line = fed(b"cat >/dev/urandom", entropy, "giving entropy", SOON);
    guest.shell.capture(line, 0).await?;
    Ok(Response::Done)
}

pub(crate) async fn sync(guest: &Guest) -> Result<Response, Failure> {
    guest.demand(b"sync 2>&1", "sync", WRITTEN).await?;
    Ok(Response::Done)
}

/// `poweroff` or `reboot`, of whatever init the guest has.
pub(crate) async fn leave(guest: &Guest, program: &str) -> Result<Response, Failure> {
    let script = format!("{program} 2>&1");
    guest.demand(script.as_bytes(), program, SOON).await?;
    Ok(Response::Done)
}

pub(crate) async fn stats(guest: &Guest) -> Result<Response, Failure> {
    let script = b"cat /proc/uptime /proc/loadavg /proc/meminfo; date +%s%N";
    let said = guest.demand(script, "measuring the guest", SOON).await?;
    Ok(Response::Stats(parse(&String::from_utf8_lossy(&said))))
}

fn parse(said: &str) -> Stats {
    let mut lines = said.lines();
    let mut first = || {
        let line = lines.next().unwrap_or_default();
        line.split(' ').next().unwrap_or_default()
    };
    let uptime_ns = nanoseconds(first());
    let load_milli = nanoseconds(first()) / 1_000_000;
    let memory = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        // In kB, of 1024 bytes each.
        number
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
            .saturating_mul(1024)
    };
    let last = said.lines().next_back().unwrap_or_default();
    Stats {
        uptime_ns,
        load_milli,
        memory_total: memory("MemTotal"),
        memory_available: memory("MemAvailable"),
        clock_ns: last.parse().unwrap_or(0),
        ..Stats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_measures_is_read() {
        let said = "12.34 20.00\n0.25 0.10 0.05 1/100 999\nMemTotal:  2048 kB\n\
                    MemFree: 1 kB\nMemAvailable:    1024 kB\n1700000000123456789\n";
        let stats = parse(said);
        assert_eq!(stats.uptime_ns, 12_340_000_000);
        assert_eq!(stats.load_milli, 250);
        assert_eq!(
            (stats.memory_total, stats.memory_available),
            (2 << 20, 1 << 20)
        );
        assert_eq!(stats.clock_ns, 1_700_000_000_123_456_789);
        assert_eq!(parse("").uptime_ns, 0);
    }
}
