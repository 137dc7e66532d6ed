use attest_protocol::frame::{Decoder, Event, HEADER, Kind, MAX_PAYLOAD, PREAMBLE};
use bytes::BytesMut;

/// Bytes that a decoder may hold: a whole frame that is not complete, and what came with it.
const MOST: usize = MAX_PAYLOAD + HEADER + PREAMBLE.len();

/// The decoder of either side: it holds little, and what it takes for a frame is one.
pub fn frames(data: &[u8]) {
    for greeting in [Kind::Hello, Kind::Welcome] {
        let mut decoder = Decoder::new(greeting);
        for piece in crate::pieces(data) {
            decoder.buffer().extend_from_slice(piece);
            while let Some(event) = decoder.next_event() {
                if let Event::Frame(frame) = event {
                    let mut again = BytesMut::new();
                    frame.put(&mut again);
                    assert!(again.len() <= MOST, "{} bytes", again.len());
                    assert!(again.ends_with(&frame.payload));
                }
            }
            let held = decoder.buffer().len();
            assert!(held <= MOST + piece.len(), "{held} bytes are held");
        }
    }
}
