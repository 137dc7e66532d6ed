//! Of many things, those that matter most.

/// Keeps a number of items, however many there are: those of the greatest rank. Among equals, the
/// first ones.
#[derive(Debug, Clone)]
pub(super) struct Most<T> {
    items: Vec<T>,
    limit: usize,
    left_out: usize,
    /// The greatest rank of what was left out.
    below: Option<Rank>,
}

/// How much something matters: first by whether it went wrong, then by how long it took
/// (nanoseconds).
pub(super) type Rank = (bool, u64);

/// What can be more or less important.
pub(super) trait Ranked {
    fn rank(&self) -> Rank;
}

impl<T: Ranked> Most<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            items: Vec::new(),
            limit,
            left_out: 0,
            below: None,
        }
    }

    pub(super) fn push(&mut self, item: T) {
        self.items.push(item);
        // Not at each one: so it costs each one a constant, together.
        if self.items.len() >= self.limit.saturating_mul(2).max(8) {
            self.keep(self.limit);
        }
    }

    /// Keeps at most so many from now on.
    pub(super) fn keep(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
        if self.items.len() <= self.limit {
            return;
        }
        self.items
            .sort_by_key(|item| std::cmp::Reverse(item.rank()));
        for item in self.items.split_off(self.limit) {
            self.leave_out(&item);
        }
    }

    /// All that is kept, in the order of this key.
    pub(super) fn sorted_by<K: Ord>(&mut self, key: impl Fn(&T) -> K) -> &mut [T] {
        self.keep(self.limit);
        self.items.sort_by_key(key);
        &mut self.items
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.items.len() + self.left_out
    }

    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    pub(super) fn items_mut(&mut self) -> &mut [T] {
        &mut self.items
    }

    /// Leaves out all that is not wanted.
    pub(super) fn keep_only(&mut self, is_wanted: impl Fn(&T) -> bool) {
        let items = std::mem::take(&mut self.items);
        let (kept, rest) = items.into_iter().partition(is_wanted);
        self.items = kept;
        for item in rest {
            self.leave_out(&item);
        }
    }

    /// Takes away what does not belong here.
    pub(super) fn retain(&mut self, belongs: impl Fn(&T) -> bool) {
        self.items.retain(belongs);
    }

    /// Counts what is not even looked at.
    pub(super) fn leave_out(&mut self, item: &T) {
        self.left_out += 1;
        self.below = self.below.max(Some(item.rank()));
    }

    /// How many are not there, and the greatest rank of them.
    pub(super) fn left_out(&self) -> Option<(usize, Rank)> {
        Some((self.left_out, self.below?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Ranked for (bool, u64) {
        fn rank(&self) -> Rank {
            *self
        }
    }

    proptest! {
        #[test]
        fn the_greatest_are_kept(
            items in prop::collection::vec(any::<(bool, u64)>(), 0..64),
            limit in 1_usize..16,
            at_last in 1_usize..16,
        ) {
            let mut most = Most::new(limit);
            for item in &items {
                most.push(*item);
            }
            most.keep(at_last);
            let mut sorted = items.clone();
            sorted.sort_unstable_by(|one, other| other.cmp(one));
            let kept = sorted.len().min(limit).min(at_last);
            let rest = &sorted[kept..];
            prop_assert_eq!(most.left_out(), rest.first().map(|first| (rest.len(), *first)));
            sorted.truncate(kept);
            sorted.reverse();
            prop_assert_eq!(most.sorted_by(|item| *item), &sorted[..]);
        }
    }
}
