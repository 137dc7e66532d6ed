use attest_backdoor::{Answer, Part};
use bytes::BytesMut;

/// Bytes of an answer that may be held beside the piece that came last: a line that is no answer.
const MOST: usize = 64 * 1024;

/// The answers of a guest's root shell: little of them is held, and each comes to an end.
pub fn shell(data: &[u8]) {
    let mut answer = Answer::default();
    let mut buffer = BytesMut::new();
    for piece in crate::pieces(data) {
        buffer.extend_from_slice(piece);
        while let Some(part) = answer.next(&mut buffer) {
            match part {
                Part::Output(bytes) => assert!(bytes.len() <= MOST + piece.len()),
                Part::Status(status) => {
                    assert!((0..1000).contains(&status), "{status}");
                    answer = Answer::default();
                }
                Part::Announced | Part::Wrong(_) => answer = Answer::default(),
            }
        }
        let held = buffer.len();
        assert!(held <= MOST + piece.len(), "{held} bytes are held");
    }
}
