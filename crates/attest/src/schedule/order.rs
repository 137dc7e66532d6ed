//! In which order tests begin.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// In which order tests begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As in the manifests.
    Manifest,
    /// Those of unknown duration first, then the longest: so the end of the run has no long one
    /// that all wait for.
    Longest,
    /// Any, but the same for the same seed.
    Random {
        /// The seed; a fresh one where it is `None`.
        seed: Option<u64>,
    },
}

/// Not the name of an order.
#[derive(Debug, thiserror::Error)]
#[error("no order `{name}`; there are: manifest, longest, random, and random:SEED with a number")]
pub struct UnknownOrder {
    name: String,
}

impl FromStr for Order {
    type Err = UnknownOrder;

    fn from_str(text: &str) -> Result<Self, UnknownOrder> {
        let seed = text.strip_prefix("random:").map(str::parse);
        match (text, seed) {
            ("manifest", _) => Ok(Self::Manifest),
            ("longest", _) => Ok(Self::Longest),
            ("random", _) => Ok(Self::Random { seed: None }),
            (_, Some(Ok(seed))) => Ok(Self::Random { seed: Some(seed) }),
            _ => Err(UnknownOrder {
                name: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest"),
            Self::Longest => f.write_str("longest"),
            Self::Random { seed: None } => f.write_str("random"),
            Self::Random { seed: Some(seed) } => write!(f, "random:{seed}"),
        }
    }
}

impl Order {
    /// With a seed, where it needs one.
    pub(crate) fn seeded(self) -> Self {
        let Self::Random { seed: None } = self else {
            return self;
        };
        // Where the kernel gives nothing, every seed is as good.
        let seed = getrandom::u64().unwrap_or_default() >> 32;
        Self::Random { seed: Some(seed) }
    }

    /// Sort what stands in the manifests' order.
    pub(crate) fn sort<T>(self, all: &mut [T], duration: impl Fn(&T) -> Option<Duration>) {
        match self {
            Self::Manifest => {}
            Self::Longest => {
                all.sort_by_key(|each| Reverse(duration(each).unwrap_or(Duration::MAX)));
            }
            Self::Random { seed } => shuffle(all, seed.unwrap_or_default()),
        }
    }
}

/// The shuffle of Fisher and Yates.
fn shuffle<T>(all: &mut [T], mut seed: u64) {
    for last in (1..all.len()).rev() {
        let range = last as u64 + 1;
        let place = usize::try_from(split_mix(&mut seed) % range).expect("less than a length");
        all.swap(last, place);
    }
}

/// SplitMix64, by Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014):
/// the same numbers everywhere and for ever, which no library promises.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn orders_have_names() {
        for name in ["manifest", "longest", "random", "random:17"] {
            assert_eq!(name.parse::<Order>().unwrap().to_string(), name);
        }
        for name in ["", "shortest", "random:", "random:x", "random:-1"] {
            let error = name.parse::<Order>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn what_is_unknown_goes_first_and_the_longest_next() {
        let mut all = [("a", Some(1)), ("b", None), ("c", Some(3)), ("d", None)];
        Order::Longest.sort(&mut all, |(_, seconds)| seconds.map(Duration::from_secs));
        assert_eq!(all.map(|(name, _)| name), ["b", "d", "c", "a"]);
    }

    #[test]
    fn a_seed_is_an_order() {
        let sorted = |seed| {
            let mut all: Vec<u32> = (0..10).collect();
            Order::Random { seed: Some(seed) }.sort(&mut all, |_| None);
            all
        };
        // Written down: a seed of yesterday must give today what it gave then.
        assert_eq!(sorted(17), sorted(17));
        assert_ne!(sorted(17), sorted(18));
        assert_eq!(sorted(17), [8, 6, 2, 0, 3, 7, 5, 4, 1, 9]);
        assert!(matches!(
            Order::Random { seed: None }.seeded(),
            Order::Random { seed: Some(_) }
        ));
    }

    proptest! {
        #[test]
        fn every_order_keeps_everything(
            seconds in prop::collection::vec(prop::option::of(0_u64..9), 0..30),
            seed in any::<u64>(),
        ) {
            for order in [Order::Manifest, Order::Longest, Order::Random { seed: Some(seed) }] {
                let mut all: Vec<usize> = (0..seconds.len()).collect();
                order.sort(&mut all, |each| seconds[*each].map(Duration::from_secs));
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(0..seconds.len()));
            }
        }
    }
}
