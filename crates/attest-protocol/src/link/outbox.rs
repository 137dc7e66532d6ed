//! Frames on their way out: in turn between channels, small ones before bulk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::frame::Frame;

/// Frames gathered for one write; small ones share a system call.
const GATHER: usize = 64 * 1024;
/// Payloads above this are not copied into the gathered bytes.
const COPIED_BELOW: usize = GATHER / 4;
/// Control frames that may wait before [`Outbox::calm`] holds back: what a peer that provokes
/// answers and does not read them can make us hold.
const MOST_CONTROL: usize = 16 * 1024;

/// One for a port; frames of a session that is over are dropped.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: Mutex<Lanes>,
    filled: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct Lanes {
    session: u64,
    /// The hello or welcome, before all else.
    greeting: Option<Frame>,
    /// Small frames, which overtake data.
    control: VecDeque<Frame>,
    /// Data, and what must not overtake it, by channel. Bounded by the channels' windows.
    data: HashMap<u32, VecDeque<Frame>>,
    /// The channels with data, in the order of their turns.
    turns: VecDeque<u32>,
}

impl Lanes {
    fn next(&mut self) -> Option<Frame> {
        self.greeting
            .take()
            .or_else(|| self.control.pop_front())
            .or_else(|| self.next_data())
    }

    /// One frame of one channel: a bulk transfer delays another channel by one frame only.
    fn next_data(&mut self) -> Option<Frame> {
        let channel = self.turns.pop_front()?;
        let queue = self.data.get_mut(&channel)?;
        let frame = queue.pop_front();
        if queue.is_empty() {
            self.data.remove(&channel);
        } else {
            self.turns.push_back(channel);
        }
        frame
    }
}

impl Outbox {
    /// Begin a session; what a former one left unsent is dropped.
    pub(super) fn begin(&self, session: u64, greeting: Option<Frame>) {
        *self.lanes.lock().expect("not poisoned") = Lanes {
            session,
            greeting,
            ..Lanes::default()
        };
        self.filled.notify_one();
        self.drained.notify_one();
    }

    /// Send a greeting again, while its session is the current one.
    pub(super) fn greet_again(&self, session: u64, greeting: Frame) {
        self.push(session, |lanes| lanes.greeting = Some(greeting));
    }

    /// Send before all data.
    pub(super) fn push_control(&self, session: u64, frame: Frame) {
        self.push(session, |lanes| lanes.control.push_back(frame));
    }

    /// Send in the channel's turn.
    pub(super) fn push_data(&self, session: u64, frame: Frame) {
        self.push(session, |lanes| {
            let queue = lanes.data.entry(frame.channel).or_default();
            if queue.is_empty() {
                lanes.turns.push_back(frame.channel);
            }
            queue.push_back(frame);
        });
    }

    fn push(&self, session: u64, put: impl FnOnce(&mut Lanes)) {
        let mut lanes = self.lanes.lock().expect("not poisoned");
        if lanes.session == session {
            put(&mut lanes);
            drop(lanes);
            self.filled.notify_one();
        }
    }

    /// Resolves when few control frames wait.
    pub(super) async fn calm(&self) {
        while self.lanes.lock().expect("not poisoned").control.len() > MOST_CONTROL {
            self.drained.notified().await;
        }
    }

    /// Move frames into `buffer` until it is worth a write; the payload of a large one is given
    /// back, to be written after the buffer without a copy.
    fn take(&self, buffer: &mut BytesMut) -> Bytes {
        let mut lanes = self.lanes.lock().expect("not poisoned");
        let crowded = lanes.control.len() > MOST_CONTROL;
        let mut large = Bytes::new();
        while buffer.len() < GATHER && large.is_empty() {
            let Some(frame) = lanes.next() else { break };
            frame.put_header(buffer);
            if frame.payload.len() > COPIED_BELOW {
                large = frame.payload;
            } else {
                buffer.extend_from_slice(&frame.payload);
            }
        }
        if crowded && lanes.control.len() <= MOST_CONTROL {
            self.drained.notify_one();
        }
        large
    }
}

/// Write what comes into the outbox, until writing fails.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(
    mut writer: W,
    outbox: Arc<Outbox>,
) -> std::io::Error {
    let mut buffer = BytesMut::with_capacity(2 * GATHER);
    loop {
        let large = outbox.take(&mut buffer);
        if buffer.is_empty() {
            outbox.filled.notified().await;
            continue;
        }
        let written = async {
            writer
                .write_all_buf(&mut (&buffer[..]).chain(large))
                .await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error;
        }
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Kind;

    #[test]
    fn channels_take_turns_and_control_goes_first() {
        let outbox = Outbox::default();
        for (channel, count) in [(1, 3), (2, 2), (3, 1)] {
            for number in 0..count {
                outbox.push_data(0, Frame::new(Kind::DataOut, channel, vec![number]));
            }
        }
        outbox.push_control(0, Frame::new(Kind::Cancel, 1, Bytes::new()));
        outbox.push_control(7, Frame::new(Kind::Cancel, 9, Bytes::new()));
        let mut lanes = outbox.lanes.lock().unwrap();
        let order: Vec<_> = std::iter::from_fn(|| lanes.next())
            .map(|frame| (frame.kind, frame.channel))
            .collect();
        let data = [1, 2, 3, 1, 2, 1].map(|channel| (Kind::DataOut, channel));
        assert_eq!(order, [[(Kind::Cancel, 1)].as_slice(), &data].concat());
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let outbox = Outbox::default();
        let payload = Bytes::from(vec![1; GATHER]);
        outbox.push_data(0, Frame::new(Kind::DataOut, 1, vec![0; 3]));
        outbox.push_data(0, Frame::new(Kind::DataOut, 2, payload.clone()));
        let mut buffer = BytesMut::new();
        assert_eq!(outbox.take(&mut buffer).as_ptr(), payload.as_ptr());
        assert_eq!(buffer.len(), 2 * crate::frame::HEADER + 3);
    }
}
