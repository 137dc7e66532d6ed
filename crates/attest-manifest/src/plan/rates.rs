//! How fast disks and network cards are at most.

use super::RatePlan;
use super::planner::Planner;
use crate::model::Rate;
use crate::problem::At;

impl Planner<'_> {
    /// Nothing of it counts where something is wrong with it, which is reported.
    pub(super) fn rate(&mut self, at: &At<'_>, rate: Option<Rate>) -> Option<RatePlan> {
        let rate = rate?;
        if rate == Rate::default() {
            let problem = at.problem("a rate without a limit");
            self.problems.push(
                problem
                    .label("neither `bandwidth` nor `operations`")
                    .help("write `{ bandwidth = \"10M\" }`, or leave `rate` out"),
            );
            return None;
        }
        let bandwidth = rate.bandwidth.map(crate::model::Size::bytes);
        let limits = [("bandwidth", bandwidth), ("operations", rate.operations)];
        let mut is_possible = true;
        for (key, _) in limits.iter().filter(|(_, limit)| *limit == Some(0)) {
            let problem = at
                .key(key)
                .problem("with a rate of 0 nothing would ever move");
            self.problems
                .push(problem.help("write at least 1, or leave it out for no limit"));
            is_possible = false;
        }
        is_possible.then_some(RatePlan {
            bytes_per_second: bandwidth,
            operations_per_second: rate.operations,
        })
    }
}
