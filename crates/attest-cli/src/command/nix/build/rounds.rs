//! Building what has no output, again and again: whether there is one is asked of the store, and of nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attest::events::{FailureDetail, Verdict};

use super::super::interrupts::Interrupts;
use super::super::verdict::Broken;
use super::attempts::{Attempt, Outcome, Running};
use super::lines::Lines;
use super::look::{Found, Look, Looking};
use super::program::{Nix, NixError};
use super::result::Collected;
use super::round::Round;
use super::said::{Said, name_of, place_of};
use super::suite::{Kind, Suite};
use super::telling::{End, Telling};

/// After its end, Nix's last words are there; what it left behind may keep its stderr open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The building of a suite.
pub(super) struct Rounds<'a> {
    pub(super) nix: Arc<Nix>,
    pub(super) interrupts: Interrupts,
    pub(super) suite: &'a Suite,
    pub(super) telling: Telling,
    /// What Nix says.
    pub(super) log: &'a mut dyn std::io::Write,
    /// Where results go.
    pub(super) directory: &'a Path,
    pub(super) retries: u32,
    /// One for each of the suite's targets.
    pub(super) states: Vec<State>,
}

/// How far a target is.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) attempts: Vec<Attempt>,
    /// Whether it was told that it began.
    has_begun: bool,
    pub(super) verdict: Option<Verdict>,
    /// Whether its output was copied.
    pub(super) is_copied: bool,
    pub(super) broken: Vec<Broken>,
}

impl State {
    /// Why there was no output, one for each attempt that had none.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.reason.as_deref())
    }
}

impl Rounds<'_> {
    /// Build all of a kind, and what has no output again, until all have one or there are no retries left.
    pub(super) async fn settle(&mut self, kind: Kind) -> Result<(), NixError> {
        let targets = self.suite.all(kind);
        let there = self.look_at(&targets).look().await;
        let outcome = match there {
            Ok(there) => {
                self.tell_there(kind, &there);
                self.take(there, None);
                self.rounds(&targets).await
            }
            Err(error) => Err(error),
        };
        if self.interrupts.came() {
            self.interrupt(&targets);
            return Ok(());
        }
        outcome
    }

    async fn rounds(&mut self, targets: &[usize]) -> Result<(), NixError> {
        for number in 0..=self.retries {
            let missing = self.missing(targets);
            if missing.is_empty() || self.interrupts.came() {
                break;
            }
            if number > 0 {
                let names = missing
                    .iter()
                    .map(|target| self.suite.targets[*target].name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                self.write(&format!(
                    "-- again, {} of {}: {names}",
                    number + 1,
                    self.retries + 1
                ));
            }
            let mut round = Round::default();
            self.build(&missing, &mut round).await?;
            if self.interrupts.came() {
                break;
            }
            let left = self.missing(&missing);
            let found = self.look_at(&left).look().await?;
            self.take(found, Some(&round));
            for target in self.missing(&left) {
                self.lose(target, &round);
            }
        }
        Ok(())
    }

    /// What need not be built.
    fn tell_there(&mut self, kind: Kind, there: &Found) {
        if kind == Kind::Whole || there.is_empty() {
            return;
        }
        let names = there
            .iter()
            .map(|(number, _)| self.suite.targets[*number].name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        let reason = "in Nix's store already".to_owned();
        self.telling.chose("not built", names, reason);
    }

    fn missing(&self, targets: &[usize]) -> Vec<usize> {
        let missing = targets.iter().copied();
        missing
            .filter(|target| self.states[*target].verdict.is_none())
            .collect()
    }

    /// One call of Nix: it builds all that it can, wherever it likes.
    async fn build(&mut self, missing: &[usize], round: &mut Round) -> Result<(), NixError> {
        let derivations = missing
            .iter()
            .map(|target| &self.suite.targets[*target].derivation);
        let derivations: BTreeSet<&str> = derivations.map(String::as_str).collect();
        let mut child = self.nix.build(derivations.into_iter())?;
        let mut lines = Lines::new(child.stderr.take().expect("it is piped"));
        let mut interrupts = self.interrupts.clone();
        let ending = interrupts.end_of(&mut child);
        tokio::pin!(ending);
        let (mut has_ended, mut wants_look) = (false, false);
        let mut looking = Looking::default();
        loop {
            tokio::select! {
                line = lines.next() => match line {
                    Some(line) => wants_look |= self.hear(line, missing, round),
                    None => break,
                },
                found = looking.end(), if looking.is_there() => {
                    // What cannot be read now is looked at once more in the end.
                    if let Ok(found) = found {
                        self.take(found, Some(round));
                    }
                }
                _ = &mut ending, if !has_ended => has_ended = true,
                () = tokio::time::sleep(LAST_WORDS), if has_ended => break,
            }
            if wants_look && !looking.is_there() && !has_ended {
                wants_look = false;
                let left = self.missing(missing);
                if !left.is_empty() {
                    looking = Looking::begin(self.look_at(&left));
                }
            }
        }
        if !has_ended {
            let _ = ending.await;
        }
        if let Ok(found) = looking.end().await {
            self.take(found, Some(round));
        }
        Ok(())
    }

    /// Whether something may have got its output.
    fn hear(&mut self, line: &[u8], missing: &[usize], round: &mut Round) -> bool {
        match round.listener.hear(line) {
            Said::Began {
                derivation,
                builder,
                text,
            } => {
                self.say(None, &text);
                self.began(derivation, builder, missing, round);
            }
            Said::Printed { derivation, line } => {
                let shard = self.of(missing, &derivation);
                let name = shard.map(|shard| self.suite.targets[shard].name.clone());
                let from = name.as_deref().unwrap_or_else(|| name_of(&derivation));
                self.write(&format!("{from}> {line}"));
                match &name {
                    Some(name) => self.telling.line(Some(name), &line),
                    None => self.telling.line(None, &format!("{from}> {line}")),
                }
                if let Some(running) = round.running.get_mut(&derivation) {
                    running.print(&line);
                }
            }
            Said::Ended { derivation } => {
                let running = derivation.and_then(|derivation| round.running.get_mut(&derivation));
                if let Some(running) = running {
                    running.end();
                }
                return true;
            }
            Said::Error(text) => {
                self.say(None, &format!("error: {text}"));
                round.complain(true, text);
            }
            Said::Warning(text) => {
                self.say(None, &text);
                round.complain(false, text);
            }
            Said::Told(text) => self.say(None, &text),
            Said::Nothing => {}
        }
        false
    }

    fn began(
        &mut self,
        derivation: String,
        builder: Option<String>,
        missing: &[usize],
        round: &mut Round,
    ) {
        // A remote builder's own Nix says once more what it builds.
        if round.running.contains_key(&derivation) {
            return;
        }
        let place = builder
            .as_ref()
            .map(|builder| format!(" on {}", place_of(builder)));
        let place = place.unwrap_or_default();
        match self.of(missing, &derivation) {
            Some(shard) if self.suite.targets[shard].kind == Kind::Shard => {
                for shard in self.all_of(missing, &derivation) {
                    self.begin(shard);
                    if !place.is_empty() {
                        let name = &self.suite.targets[shard].name;
                        self.telling
                            .progress(Some(name), format!("{name} builds{place}"));
                    }
                }
            }
            _ => {
                let text = format!("building {}{place}", name_of(&derivation));
                self.telling.progress(None, text);
            }
        }
        round.running.insert(derivation, Running::begin(builder));
    }

    fn begin(&mut self, target: usize) {
        if !std::mem::replace(&mut self.states[target].has_begun, true) {
            self.telling.shard_began(&self.suite.targets[target].name);
        }
    }

    /// The first of these that is this derivation.
    fn of(&self, targets: &[usize], derivation: &str) -> Option<usize> {
        self.all_of(targets, derivation).into_iter().next()
    }

    fn all_of(&self, targets: &[usize], derivation: &str) -> Vec<usize> {
        let of = targets.iter().copied();
        of.filter(|target| self.suite.targets[*target].derivation == derivation)
            .collect()
    }

    /// These have an output.
    fn take(&mut self, found: Found, round: Option<&Round>) {
        for (number, collected) in found {
            if self.states[number].verdict.is_some() {
                continue;
            }
            let target = &self.suite.targets[number];
            let running = round.and_then(|round| round.running(target));
            let outcome = match (round, running) {
                (None, _) => Outcome::InStore,
                (Some(_), None) => Outcome::Fetched,
                (Some(_), Some(_)) => Outcome::Built,
            };
            let attempt = Attempt::of(running, outcome, None);
            self.states[number].attempts.push(attempt);
            self.states[number].verdict = Some(Verdict::Passed);
            if let Some(collected) = collected {
                let took_ns = running.map(Running::took_ns);
                self.collected(number, collected, took_ns, outcome);
            }
        }
    }

    fn collected(
        &mut self,
        number: usize,
        collected: Collected,
        took_ns: Option<u64>,
        outcome: Outcome,
    ) {
        self.begin(number);
        let target = &self.suite.targets[number];
        for broken in &collected.broken {
            let message = format!(
                "something beneath its tests broke, and they ran again: {}",
                broken.reason
            );
            self.telling.warn(Some(&target.name), message);
        }
        let mut failure = collected.failure;
        if let (Some(failure), Outcome::InStore) = (&mut failure, outcome) {
            let again = format!(
                "\nThis was in Nix's store already; `nix store delete {}` lets it run again.",
                target.output
            );
            failure.message.push_str(&again);
        }
        let state = &mut self.states[number];
        state.verdict = Some(collected.verdict);
        state.is_copied = true;
        state.broken = collected.broken;
        let end = End {
            verdict: collected.verdict,
            took_ns: took_ns.or(collected.took_ns).unwrap_or_default(),
            failure,
            tries: u32::try_from(state.attempts.len()).unwrap_or(u32::MAX),
        };
        self.telling.shard_ended(&target.name, end);
    }

    /// This one has no output after a round.
    fn lose(&mut self, number: usize, round: &Round) {
        let target = &self.suite.targets[number];
        let running = round.running(target);
        let reason = round.reason(target, &self.suite.targets);
        let attempt = Attempt::of(running, Outcome::NoOutput, Some(reason.clone()));
        let failure = FailureDetail {
            message: reason,
            stdout: (!attempt.log.is_empty()).then(|| attempt.log.join("\n")),
            ..FailureDetail::default()
        };
        let took_ns = running.map(Running::took_ns).unwrap_or_default();
        self.states[number].attempts.push(attempt);
        let tries = u32::try_from(self.states[number].attempts.len()).unwrap_or(u32::MAX);
        self.begin(number);
        let of = self.retries.saturating_add(1);
        if tries < of {
            self.telling.lost(&target.name, tries, of, took_ns, failure);
            return;
        }
        self.states[number].verdict = Some(Verdict::Infrastructure);
        let end = End {
            verdict: Verdict::Infrastructure,
            took_ns,
            failure: Some(failure),
            tries,
        };
        self.telling.shard_ended(&target.name, end);
    }

    /// The user ended it.
    fn interrupt(&mut self, targets: &[usize]) {
        for number in self.missing(targets) {
            let state = &mut self.states[number];
            state
                .attempts
                .push(Attempt::of(None, Outcome::Interrupted, None));
            state.verdict = Some(Verdict::Interrupted);
            self.begin(number);
            let end = End {
                verdict: Verdict::Interrupted,
                took_ns: 0,
                failure: None,
                tries: 1,
            };
            self.telling
                .shard_ended(&self.suite.targets[number].name, end);
        }
    }

    fn say(&mut self, shard: Option<&str>, text: &str) {
        for line in text.lines() {
            self.write(line);
            self.telling.line(shard, line);
        }
    }

    fn write(&mut self, line: &str) {
        // A disk that is full is found by the events, which go to the same.
        let _ = writeln!(self.log, "{line}");
    }

    fn look_at(&self, targets: &[usize]) -> Look {
        let targets = targets
            .iter()
            .map(|number| (*number, self.suite.targets[*number].clone()));
        Look {
            nix: Arc::clone(&self.nix),
            interrupts: self.interrupts.clone(),
            targets: targets.collect(),
            directory: self.directory.to_owned(),
        }
    }
}
