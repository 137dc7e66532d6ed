//! What Nix said in one round, and why something has no output after it.

use std::collections::HashMap;

use super::attempts::Running;
use super::said::{Listener, base_of, gist, place_of};
use super::suite::Target;

/// Errors of Nix that are remembered.
const ERRORS: usize = 100;

/// What Nix said in one round.
#[derive(Default)]
pub(super) struct Round {
    pub(super) listener: Listener,
    /// By derivations.
    pub(super) running: HashMap<String, Running>,
    complaints: Vec<Complaint>,
}

/// An error of Nix's, or a warning.
struct Complaint {
    is_error: bool,
    text: String,
}

impl Complaint {
    fn is_about(&self, target: &Target) -> bool {
        self.text.contains(base_of(&target.derivation))
    }
}

impl Round {
    pub(super) fn complain(&mut self, is_error: bool, text: String) {
        if self.complaints.len() < ERRORS {
            self.complaints.push(Complaint { is_error, text });
        }
    }

    pub(super) fn running(&self, target: &Target) -> Option<&Running> {
        self.running.get(&target.derivation)
    }

    /// Why there is no output: what Nix said of it, and what it said of none of them all, as that it lost a connection,
    /// or that something failed on which it depends.
    pub(super) fn reason(&self, target: &Target, all: &[Target]) -> String {
        let mut complaints = self.complaints.iter();
        let of_it = complaints.find(|complaint| complaint.is_about(target));
        let of_none = self.complaints.iter().find(|complaint| {
            complaint.is_error && !all.iter().any(|other| complaint.is_about(other))
        });
        let said = of_it.into_iter().chain(of_none);
        let said: Vec<String> = said.map(|complaint| gist(&complaint.text)).collect();
        let why = if said.is_empty() {
            "Nix does not say why".to_owned()
        } else {
            said.join("; ")
        };
        match self.running(target).map(|running| &running.builder) {
            Some(Some(builder)) => format!("no output from {}: {why}", place_of(builder)),
            Some(None) => format!("no output: {why}"),
            None => format!("it was not begun: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::nix::build::suite::Kind;

    fn target(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            installable: String::new(),
            kind: Kind::Shard,
            derivation: format!("/nix/store/h-{name}.drv"),
            output: format!("/nix/store/h-{name}"),
            directory: name.to_owned(),
        }
    }

    #[test]
    fn each_has_its_own_reason_and_what_is_nobodys() {
        let all = [target("a"), target("b"), target("c")];
        let mut round = Round::default();
        let begun = |builder: Option<&str>| Running::begin(builder.map(str::to_owned));
        round.running.insert(
            all[0].derivation.clone(),
            begun(Some("ssh-ng://one?remote-store=x")),
        );
        round.running.insert(all[1].derivation.clone(), begun(None));
        assert_eq!(
            round.reason(&all[1], &all),
            "no output: Nix does not say why"
        );
        round.complain(false, "no machine for h-c.drv".to_owned());
        round.complain(true, "unexpected end-of-file".to_owned());
        round.complain(true, "builder for '/nix/store/h-a.drv' failed".to_owned());
        let reasons = all.each_ref().map(|target| round.reason(target, &all));
        insta::assert_snapshot!(reasons.join("\n"), @r"
        no output from ssh-ng://one: builder for '/nix/store/h-a.drv' failed; unexpected end-of-file
        no output: unexpected end-of-file
        it was not begun: no machine for h-c.drv; unexpected end-of-file
        ");
    }
}
