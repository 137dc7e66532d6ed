//! What is fuzzed, as functions of some bytes: libFuzzer calls them with what it finds, and the
//! tests of this crate with a few thousand mutations, so that they do not rot.
//!
//! `cargo xtask fuzz [TARGET [SECONDS]]` runs them.

mod frames;
mod link;
mod messages;
mod screen;
mod seeds;
mod shell;
mod tree;

pub use frames::frames;
pub use link::{agent, host};
pub use messages::messages;
pub use screen::screen;
pub use seeds::seeds;
pub use shell::shell;
pub use tree::tree;

/// A target: some bytes of an untrusted peer, and what must hold whatever they are.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 7] = [
    ("frames", frames),
    ("host", host),
    ("agent", agent),
    ("messages", messages),
    ("tree", tree),
    ("shell", shell),
    ("screen", screen),
];

/// Cut data into pieces, as a stream may arrive: the first byte chooses how.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (how, rest) = data.split_first().unwrap_or((&0, &[]));
    let longest = match how {
        0..64 => 1,
        64..128 => usize::from(*how) - 60,
        128.. => usize::from(*how) * 256,
    };
    rest.chunks(longest)
}
