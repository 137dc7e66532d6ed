//! Room for many containers on this host.

use std::fs;

use crate::Result;

const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Of inotify instances, by a container of Debian: its systemd has five, its bus, the agent and the
/// journal's reader one each. Some more, for what a boot has for a moment.
const EACH: u32 = 10;

/// As many inotify instances as containers need, where the host allows fewer: 128 of all users' are usual,
/// which is 16 containers. As it was when this is dropped.
pub(crate) struct Room {
    before: Option<u32>,
}

impl Room {
    pub(crate) fn make(containers: u32) -> Result<Self> {
        let now: u32 = fs::read_to_string(INSTANCES)?.trim().parse()?;
        // What else runs has some.
        let needed = (containers + 4) * EACH;
        let before = (now < needed).then_some(now);
        if before.is_some() {
            eprintln!("while containers are measured: {INSTANCES} {now} -> {needed}");
            fs::write(INSTANCES, needed.to_string())?;
        }
        Ok(Self { before })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(before) = self.before
            && let Err(error) = fs::write(INSTANCES, before.to_string())
        {
            eprintln!("{INSTANCES} was {before} before, and is not set back: {error}");
        }
    }
}
