//! Who may begin now: a queue, a budget, and fairness.

use std::collections::{HashMap, VecDeque};

/// A whole CPU, in the unit of [`Need::cpu`].
const CPU: u32 = 1000;

/// What all that run at once may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// How many may run, and how many CPUs they may keep busy.
    pub(crate) jobs: u32,
    /// Bytes; `None` where the host does not tell.
    pub(crate) memory: Option<u64>,
}

/// What one takes while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Bytes.
    pub(crate) memory: u64,
    /// Thousandths of a CPU; it counts for at least one job, and at most for all.
    pub(crate) cpu: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// This one begins.
    Start {
        /// Its number.
        id: usize,
        /// Whether it takes more memory than there is for all: nothing runs beside it.
        alone: bool,
    },
    /// All jobs and CPUs are taken.
    Full,
    /// This one is the next, and has to wait for memory.
    Wait {
        /// Its number.
        id: usize,
        /// What it takes, bytes.
        need: u64,
        /// What is free, bytes.
        free: u64,
    },
    /// Nobody waits.
    Empty,
}

/// Lets tests begin in their order, as long as the budget lasts.
///
/// Where the first of the queue has to wait, smaller ones behind it may go first, but only as many
/// as may run at once: then all wait for it.
#[derive(Debug)]
pub(crate) struct Admission {
    budget: Budget,
    queue: VecDeque<(usize, Need)>,
    running: HashMap<usize, Need>,
    /// How many went before the first since it became that.
    overtaken: u32,
}

impl Admission {
    pub(crate) fn new(budget: Budget, queue: impl IntoIterator<Item = (usize, Need)>) -> Self {
        let budget = Budget {
            jobs: budget.jobs.max(1),
            ..budget
        };
        Self {
            budget,
            queue: queue.into_iter().collect(),
            running: HashMap::new(),
            overtaken: 0,
        }
    }

    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// Those that have not begun, in their order.
    pub(crate) fn give_up(&mut self) -> Vec<usize> {
        self.queue.drain(..).map(|(id, _)| id).collect()
    }

    /// It runs no more.
    pub(crate) fn ended(&mut self, id: usize) {
        self.running.remove(&id);
    }

    /// What is to be done now. `spare`: bytes that the host could still give, where it is known:
    /// others may have taken what the budget was made of.
    pub(crate) fn next(&mut self, spare: Option<u64>) -> Next {
        let Some(&(first, need)) = self.queue.front() else {
            return Next::Empty;
        };
        if self.running.is_empty() {
            return self.start(0);
        }
        if self.running.len() >= self.budget.jobs as usize {
            return Next::Full;
        }
        let free = self.free(spare);
        let reach = match self.overtaken < self.budget.jobs {
            _ if self.is_anyone_alone() => 0,
            true => self.queue.len(),
            false => 1,
        };
        let fitting = self.queue.iter().take(reach);
        let fits = |need: &Need| free.is_none_or(|free| need.memory <= free) && self.has_cpu(*need);
        match fitting.map(|(_, need)| need).position(fits) {
            Some(place) => self.start(place),
            None => match free {
                Some(free) if need.memory > free || self.is_anyone_alone() => Next::Wait {
                    id: first,
                    need: need.memory,
                    free,
                },
                _ => Next::Full,
            },
        }
    }

    fn start(&mut self, place: usize) -> Next {
        let (id, need) = self.queue.remove(place).expect("it is in the queue");
        self.overtaken = if place == 0 { 0 } else { self.overtaken + 1 };
        self.running.insert(id, need);
        let alone = self.exceeds(need);
        Next::Start { id, alone }
    }

    fn exceeds(&self, need: Need) -> bool {
        self.budget
            .memory
            .is_some_and(|memory| need.memory > memory)
    }

    fn is_anyone_alone(&self) -> bool {
        self.running.values().any(|need| self.exceeds(*need))
    }

    fn free(&self, spare: Option<u64>) -> Option<u64> {
        let taken: u64 = self.running.values().map(|need| need.memory).sum();
        let left = self
            .budget
            .memory
            .map(|memory| memory.saturating_sub(taken));
        match (left, spare) {
            (Some(left), Some(spare)) => Some(left.min(spare)),
            (left, spare) => left.or(spare),
        }
    }

    fn has_cpu(&self, need: Need) -> bool {
        let taken: u32 = self.running.values().map(|need| self.weight(*need)).sum();
        taken + self.weight(need) <= self.budget.jobs
    }

    /// How many jobs it counts for: the nearest number of CPUs, for a little too much at once loses
    /// less time than a CPU that has nothing to do.
    fn weight(&self, need: Need) -> u32 {
        let cpus = need.cpu.saturating_add(CPU / 2) / CPU;
        cpus.clamp(1, self.budget.jobs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admission(jobs: u32, memory: u64, needs: &[u64]) -> Admission {
        let needs = needs.iter().map(|&memory| Need { memory, cpu: 0 });
        let budget = Budget {
            jobs,
            memory: Some(memory),
        };
        Admission::new(budget, needs.enumerate())
    }

    fn start(id: usize) -> Next {
        Next::Start { id, alone: false }
    }

    #[test]
    fn as_many_as_there_are_jobs() {
        let mut admission = admission(2, 100, &[1, 1, 1]);
        assert_eq!(admission.next(None), start(0));
        assert_eq!(admission.next(None), start(1));
        assert_eq!(admission.next(None), Next::Full);
        admission.ended(0);
        assert_eq!(admission.next(None), start(2));
        assert_eq!(admission.next(None), Next::Empty);
    }

    #[test]
    fn a_big_one_is_overtaken_only_so_often() {
        let mut admission = admission(2, 10, &[6, 8, 4, 4, 4, 4]);
        assert_eq!(admission.next(None), start(0));
        assert_eq!(admission.next(None), start(2));
        admission.ended(2);
        assert_eq!(admission.next(None), start(3));
        admission.ended(3);
        let (id, need, free) = (1, 8, 4);
        assert_eq!(admission.next(None), Next::Wait { id, need, free });
        admission.ended(0);
        assert_eq!(admission.next(None), start(1));
    }

    #[test]
    fn one_that_is_too_big_for_all_runs_alone() {
        let mut admission = admission(4, 10, &[20, 1]);
        let (id, alone) = (0, true);
        assert_eq!(admission.next(None), Next::Start { id, alone });
        let (id, need, free) = (1, 1, 0);
        assert_eq!(admission.next(None), Next::Wait { id, need, free });
        admission.ended(0);
        assert_eq!(admission.next(None), start(1));
    }

    #[test]
    fn what_others_took_is_not_given() {
        let mut admission = admission(4, 10, &[4, 4]);
        assert_eq!(admission.next(Some(0)), start(0));
        let (id, need, free) = (1, 4, 3);
        assert_eq!(admission.next(Some(3)), Next::Wait { id, need, free });
        assert_eq!(admission.next(Some(5)), start(1));
    }

    #[test]
    fn who_keeps_two_cpus_busy_takes_two_jobs() {
        let budget = Budget {
            jobs: 3,
            memory: None,
        };
        let needs = [1600, 2400, 1400].map(|cpu| Need { memory: 0, cpu });
        let mut admission = Admission::new(budget, needs.into_iter().enumerate());
        assert_eq!(admission.next(None), start(0));
        assert_eq!(admission.next(None), start(2));
        assert_eq!(admission.next(None), Next::Full);
        admission.ended(0);
        assert_eq!(admission.next(None), start(1));
    }

    proptest! {
        #[test]
        fn nothing_exceeds_the_budget_and_everything_runs(
            jobs in 1_u32..5,
            memory in 1_u64..100,
            needs in prop::collection::vec((0_u64..150, 0_u32..6000), 0..40),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let budget = Budget { jobs, memory: Some(memory) };
            let needs: Vec<Need> =
                needs.into_iter().map(|(memory, cpu)| Need { memory, cpu }).collect();
            let mut admission = Admission::new(budget, needs.iter().copied().enumerate());
            let mut running: Vec<usize> = Vec::new();
            let mut begun = vec![false; needs.len()];
            let mut overtaken = vec![0; needs.len()];
            let mut ends = ends.into_iter();
            loop {
                match admission.next(None) {
                    Next::Start { id, alone } => {
                        prop_assert!(!std::mem::replace(&mut begun[id], true));
                        running.push(id);
                        let taken: u64 = running.iter().map(|id| needs[*id].memory).sum();
                        prop_assert_eq!(alone, needs[id].memory > memory);
                        prop_assert!(taken <= memory || running.len() == 1);
                        prop_assert!(running.len() <= jobs as usize);
                        for before in (0..id).filter(|before| !begun[*before]) {
                            overtaken[before] += 1;
                        }
                        // The first of the queue is overtaken `jobs` times, and so was every one
                        // that was the first before it.
                        for (place, id) in (1..).zip((0..needs.len()).filter(|id| !begun[*id])) {
                            prop_assert!(overtaken[id] <= jobs * (place + u32::try_from(id).unwrap()));
                        }
                    }
                    Next::Empty if running.is_empty() => break,
                    Next::Empty | Next::Full | Next::Wait { .. } => {
                        prop_assert!(!running.is_empty());
                        let which = ends.next().map_or(0, |end| end.index(running.len()));
                        admission.ended(running.swap_remove(which));
                    }
                }
            }
            prop_assert!(begun.iter().all(|begun| *begun));
        }
    }
}
