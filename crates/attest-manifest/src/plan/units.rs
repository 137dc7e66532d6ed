//! Units of systemd, and the users whose managers have them.

use super::planner::Planner;
use super::{UnitPlan, UnitVerb};
use crate::model::UnitAction;
use crate::problem::At;

impl Planner<'_> {
    pub(super) fn unit_action(&mut self, at: &At<'_>, action: &UnitAction) -> Option<UnitPlan> {
        let verbs = [
            (UnitVerb::Start, &action.start),
            (UnitVerb::Stop, &action.stop),
            (UnitVerb::Restart, &action.restart),
            (UnitVerb::Reload, &action.reload),
            (UnitVerb::Isolate, &action.isolate),
        ];
        let keys = verbs.map(|(verb, unit)| (verb.name(), unit.is_some()));
        let key = self.exactly_one(at, "a step with a unit", "action", &keys)?;
        let (verb, unit) = verbs.into_iter().find(|(verb, _)| verb.name() == key)?;
        let unit = unit.clone()?;
        self.unit_name(&at.key(key), &unit);
        self.user_name(at, action.user.as_deref());
        Some(UnitPlan {
            verb,
            unit,
            user: action.user.clone(),
            timeout: self.duration(&at.key("timeout"), action.timeout),
        })
    }

    /// The name of a guest's user, under `user`.
    pub(super) fn user_name(&mut self, at: &At<'_>, user: Option<&str>) {
        if user.is_some_and(|user| user.is_empty() || user.contains('\0')) {
            self.problems
                .push(at.key("user").problem("this is no name of a user"));
        }
    }
}
