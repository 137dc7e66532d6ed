//! One part of the tests, for one of several runs elsewhere.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which part of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    index: usize,
    count: usize,
}

/// Not a shard.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no shard; give I/N, the I-th of N, as 1/4 and 4/4")]
pub struct WrongShard {
    text: String,
}

impl FromStr for Shard {
    type Err = WrongShard;

    fn from_str(text: &str) -> Result<Self, WrongShard> {
        let numbers = text.split_once('/');
        let shard = numbers.and_then(|(index, count)| {
            Some(Self {
                index: index.parse().ok()?,
                count: count.parse().ok()?,
            })
        });
        shard
            .filter(|shard| (1..=shard.count).contains(&shard.index))
            .ok_or_else(|| WrongShard {
                text: text.to_owned(),
            })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Shard {
    /// Which of these belong to it. The longest goes first, each to the shard that has the least to
    /// do until then; equal ones go by their names. What is unknown counts as the mean of what is
    /// known. So the same names and durations give the same shards, in whatever order they come.
    pub(crate) fn takes(self, all: &[(&str, Option<Duration>)]) -> Vec<bool> {
        let known: Vec<Duration> = all.iter().filter_map(|(_, duration)| *duration).collect();
        let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let mean = known
            .iter()
            .sum::<Duration>()
            .checked_div(count)
            .unwrap_or(Duration::from_secs(1));
        let weight = |place: usize| all[place].1.unwrap_or(mean);
        let mut places: Vec<usize> = (0..all.len()).collect();
        places.sort_by_key(|&place| (Reverse(weight(place)), all[place].0, place));
        let mut loads = vec![Duration::ZERO; self.count];
        let mut mine = vec![false; all.len()];
        for place in places {
            let lightest = (0..self.count).min_by_key(|&shard| loads[shard]);
            let shard = lightest.expect("there is one at least");
            // Even what takes no time is spread.
            loads[shard] += weight(place).max(Duration::from_nanos(1));
            mine[place] = shard + 1 == self.index;
        }
        mine
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shards_are_written_as_fractions() {
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2/4");
        for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_are_spread() {
        let seconds = |name, seconds| (name, Some(Duration::from_secs(seconds)));
        let all = [
            seconds("a", 1),
            seconds("b", 5),
            seconds("c", 4),
            seconds("d", 2),
        ];
        let of = |text: &str| text.parse::<Shard>().unwrap().takes(&all);
        assert_eq!(of("1/2"), [true, true, false, false]);
        assert_eq!(of("2/2"), [false, false, true, true]);
    }

    proptest! {
        #[test]
        fn shards_are_disjoint_and_together_everything(
            tests in prop::collection::btree_map("[a-z]{1,6}", prop::option::of(0_u64..99), 0..40),
            count in 1_usize..8,
            rotation in 0_usize..40,
        ) {
            let mut all: Vec<_> = tests
                .iter()
                .map(|(name, seconds)| (name.as_str(), seconds.map(Duration::from_secs)))
                .collect();
            let names = |all: &[(&str, Option<Duration>)], index| {
                let mine = Shard { index, count }.takes(all);
                let taken = all.iter().zip(mine).filter(|(_, mine)| *mine);
                let mut names: Vec<String> = taken.map(|((name, _), _)| (*name).to_owned()).collect();
                names.sort();
                names
            };
            let shards: Vec<_> = (1..=count).map(|index| names(&all, index)).collect();
            let mut together = shards.concat();
            together.sort();
            prop_assert!(together.iter().eq(tests.keys()));
            if !all.is_empty() {
                let rotation = rotation % all.len();
                all.rotate_left(rotation);
            }
            for (index, shard) in (1..).zip(&shards) {
                prop_assert_eq!(&names(&all, index), shard);
            }
        }
    }
}
