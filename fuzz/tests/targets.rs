//! Every target, on what its fuzzer begins with and on what is near to it.

use attest_fuzz::{TARGETS, seeds};
use proptest::prelude::*;
use proptest::sample::Index;

/// A seed in which some bytes are others, and which may be cut or doubled.
fn damaged(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<Index>(), any::<u8>()), 0..8);
    (any::<Index>(), damage, any::<Index>(), any::<bool>()).prop_map(
        move |(which, damage, cut, twice)| {
            let seeds = seeds(target);
            let mut data = which.get(&seeds).clone();
            for (at, byte) in damage {
                *at.get_mut(&mut data) = byte;
            }
            if twice {
                data.extend_from_within(..);
            }
            data.truncate(cut.index(data.len()) + 1);
            data
        },
    )
}

fn holds(name: &'static str) {
    let (_, target) = TARGETS.into_iter().find(|(each, _)| *each == name).unwrap();
    for seed in seeds(name) {
        target(&seed);
    }
    proptest!(ProptestConfig::with_cases(100), |(data in damaged(name))| target(&data));
}

#[test]
fn frames() {
    holds("frames");
}

#[test]
fn host() {
    holds("host");
}

#[test]
fn agent() {
    holds("agent");
}

#[test]
fn messages() {
    holds("messages");
}

#[test]
fn tree() {
    holds("tree");
}

#[test]
fn shell() {
    holds("shell");
}

#[test]
fn screen() {
    holds("screen");
}

#[test]
fn the_sessions_that_are_recorded_come_to_their_end() {
    // Three answers at least are in it: a session that broke off would be no seed.
    let to_host = seeds("host")[0].len();
    assert!(to_host > 4 * 512, "{to_host}");
}
