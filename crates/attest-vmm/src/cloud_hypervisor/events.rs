//! What Cloud Hypervisor tells of its machine by itself: JSON values, one after the other.

use std::os::fd::OwnedFd;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Bytes of an event, which has some hundred.
const LONGEST: usize = 1 << 16;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    source: String,
    event: String,
}

impl Event {
    /// Whether the guest has been reset; it is about to be booted again.
    pub(super) fn is_reset(&self) -> bool {
        (self.source.as_str(), self.event.as_str()) == ("vm", "rebooting")
    }
}

/// Hear all events, up to the end of the VMM.
pub(super) fn follow(pipe: OwnedFd) -> std::io::Result<mpsc::UnboundedReceiver<Event>> {
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut said = Said::default();
        while let Ok(1..) = pipe.read_buf(&mut said.0).await {
            for event in said.take() {
                // Nobody listens to a machine that is given up.
                let _ = sender.send(event);
            }
        }
    });
    Ok(receiver)
}

/// What was said and is no whole event yet.
#[derive(Debug, Default)]
struct Said(Vec<u8>);

impl Said {
    /// The events that are whole: each ends with a blank line. What is no event is left out.
    fn take(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut taken = 0;
        while let Some(length) = self.0[taken..].windows(2).position(|two| two == b"\n\n") {
            let said = &self.0[taken..taken + length];
            events.extend(serde_json::from_slice(said).ok());
            taken += length + 2;
        }
        self.0.drain(..taken);
        if self.0.len() > LONGEST {
            self.0.clear();
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REBOOTING: &str = "{\n  \"timestamp\": {\n    \"secs\": 1,\n    \"nanos\": 2\n  },\n  \"source\": \"vm\",\n  \
                             \"event\": \"rebooting\",\n  \"properties\": null\n}\n\n";
    const OTHER: &str = "{\"source\":\"virtio-device\",\"event\":\"activated\",\"properties\":{\"id\":\"_vsock\"}}\n\n";

    fn resets(pieces: &[&[u8]]) -> Vec<bool> {
        let mut said = Said::default();
        let mut all = Vec::new();
        for piece in pieces {
            said.0.extend_from_slice(piece);
            all.extend(said.take());
        }
        assert_eq!(said.0, b"");
        all.iter().map(Event::is_reset).collect()
    }

    #[test]
    fn events_come_in_any_pieces() {
        let both = format!("{OTHER}{REBOOTING}");
        assert_eq!(resets(&[both.as_bytes()]), [false, true]);
        let bytes: Vec<&[u8]> = both.as_bytes().chunks(1).collect();
        assert_eq!(resets(&bytes), [false, true]);
    }

    #[test]
    fn what_is_no_event_hides_none_that_follows() {
        assert_eq!(resets(&[b"[1]\n\n{\"a\n\n", REBOOTING.as_bytes()]), [true]);
    }

    #[test]
    fn garbage_without_an_end_is_not_kept() {
        let mut said = Said(vec![b' '; LONGEST + 1]);
        assert_eq!(said.take(), []);
        assert_eq!(said.0.len(), 0);
    }
}
