//! Containers until a port of each is open.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;

use super::apart;
use super::container::{Container, mount_image, overlay};
use crate::Result;

/// Between two looks at a port. A look costs a tenth of it.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_mins(1);

/// What it takes until this port is open in so many containers that are started at once.
pub(crate) fn until_serving(image: &Path, containers: usize, port: u16) -> Result<Duration> {
    apart(CloneFlags::empty(), |place| {
        let began = Instant::now();
        let lower = mount_image(place, image)?;
        let started: Result<Vec<_>> = (0..containers)
            .map(|number| {
                let name = number.to_string();
                let root = overlay(place, &lower, &name)?;
                Container::start(&root, &name, &["--private-network".to_owned()])
            })
            .collect();
        let started = started?;
        while !started.iter().all(|container| serves(container, port)) {
            if began.elapsed() > PATIENCE {
                return Err("the containers that were started by hand do not serve".into());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(began.elapsed())
    })
}

/// Whether somebody listens at this port. The kernel tells it of every network namespace, so no program has to be started
/// in the container.
fn serves(container: &Container, port: u16) -> bool {
    let own = fs::read_link("/proc/self/ns/net").ok();
    container.inits().any(|init| {
        let is_own = fs::read_link(format!("/proc/{init}/ns/net")).ok() == own;
        let sockets = fs::read_to_string(format!("/proc/{init}/net/tcp"));
        !is_own && sockets.is_ok_and(|sockets| listens(&sockets, port))
    })
}

/// In the form of proc_pid_net(5).
fn listens(sockets: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&port) && fields.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_sockets_that_listen_at_the_port_count() {
        let line = |local: &str, state: &str| {
            format!("   0: 00000000:{local} 00000000:0000 {state} 00000000:00000000 00:00000000")
        };
        assert!(super::listens(&line("0050", "0A"), 80));
        assert!(!super::listens(&line("0050", "01"), 80));
        assert!(!super::listens(&line("1F90", "0A"), 80));
        assert!(!super::listens("  sl  local_address rem_address   st", 80));
    }
}
