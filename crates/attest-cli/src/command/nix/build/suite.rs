//! What there is to build: the shards of each installable, and the test over them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use attest::run::file_name;
use serde::Deserialize;

use super::super::interrupts::Interrupts;
use super::program::{Nix, NixError};

/// What is asked of each installable. Its paths are known by evaluation alone, which also writes the derivations to
/// the store: so it is evaluated once, however often its shards are built.
const QUESTION: &str = "test: if builtins.isAttrs test && test ? shards then { \
    name = test.name or \"\"; derivation = test.drvPath; output = test.outPath; \
    shards = builtins.mapAttrs (_: shard: { derivation = shard.drvPath; output = shard.outPath; }) test.shards; \
    } else null";

/// What names of tests begin with, as of all tests of NixOS.
const PREFIX: &str = "vm-test-run-";

/// A derivation that is built, and has one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Differs from those of all others.
    pub(super) name: String,
    /// What the user called it.
    pub(super) installable: String,
    pub(super) kind: Kind,
    pub(super) derivation: String,
    pub(super) output: String,
    /// The name of its directory.
    pub(super) directory: String,
}

/// What a derivation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of the tests.
    Shard,
    /// The whole, which depends on all its shards.
    Whole,
}

/// The answer.
#[derive(Debug, Deserialize)]
struct Answer {
    name: String,
    #[serde(flatten)]
    whole: Paths,
    shards: BTreeMap<String, Paths>,
}

#[derive(Debug, Deserialize)]
struct Paths {
    derivation: String,
    output: String,
}

/// All that is to be built.
#[derive(Debug, Default)]
pub(super) struct Suite {
    pub(super) targets: Vec<Target>,
}

impl Suite {
    /// Of these installables; `about_to` is told which is evaluated next.
    pub(super) async fn evaluate(
        nix: &Nix,
        installables: &[String],
        interrupts: &Interrupts,
        mut about_to: impl FnMut(&str),
    ) -> Result<Self, NixError> {
        let mut answers = Vec::new();
        for installable in installables {
            about_to(installable);
            let answer = nix.evaluate(installable, QUESTION, interrupts).await?;
            let answer = serde_json::from_value::<Option<Answer>>(answer);
            let answer = answer.map_err(|_| NixError::Answer {
                about: format!("`{installable}`"),
                said: nix.version().to_owned(),
            })?;
            let answer = answer.ok_or_else(|| NixError::NoTest {
                installable: installable.clone(),
            })?;
            answers.push((installable.as_str(), answer));
        }
        Self::of(answers)
    }

    fn of(answers: Vec<(&str, Answer)>) -> Result<Self, NixError> {
        let is_alone = answers.len() == 1;
        let (mut names, mut directories) = (HashSet::new(), HashSet::new());
        let mut targets = Vec::new();
        for (installable, answer) in answers {
            let test = answer.name.strip_prefix(PREFIX).unwrap_or(&answer.name);
            let test = if test.is_empty() { installable } else { test };
            let shards = answer.shards.into_iter().map(|(shard, paths)| {
                let name = if is_alone {
                    shard
                } else {
                    format!("{test}/{shard}")
                };
                (name, Kind::Shard, paths)
            });
            let whole = (test.to_owned(), Kind::Whole, answer.whole);
            for (name, kind, paths) in shards.chain([whole]) {
                let name = free(&name, &mut names);
                if !is_known(&paths) {
                    return Err(NixError::NoPath { shard: name });
                }
                targets.push(Target {
                    directory: free(&file_name(&name), &mut directories),
                    name,
                    installable: installable.to_owned(),
                    kind,
                    derivation: paths.derivation,
                    output: paths.output,
                });
            }
        }
        Ok(Self { targets })
    }

    /// The numbers of those of a kind.
    pub(super) fn all(&self, kind: Kind) -> Vec<usize> {
        let targets = self.targets.iter().enumerate();
        let targets = targets.filter(|(_, target)| target.kind == kind);
        targets.map(|(number, _)| number).collect()
    }

    /// The names of the shards.
    pub(super) fn shards(&self) -> Vec<String> {
        let shards = self.all(Kind::Shard).into_iter();
        shards
            .map(|number| self.targets[number].name.clone())
            .collect()
    }
}

/// Whether the output's path is one of the store, in which the derivation is too: of a content-addressed derivation it
/// is a placeholder.
fn is_known(paths: &Paths) -> bool {
    let store = Path::new(&paths.derivation).parent();
    Path::new(&paths.output).parent() == store
}

/// The name, or with the first number with which it is not taken yet.
fn free(name: &str, taken: &mut HashSet<String>) -> String {
    let numbers = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbers);
    let free = names.find(|name| taken.insert(name.clone()));
    free.expect("there is no end of numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, shards: &[&str]) -> Answer {
        let paths = |name: &str| Paths {
            derivation: format!("/nix/store/h-{name}.drv"),
            output: format!("/nix/store/h-{name}"),
        };
        Answer {
            name: format!("vm-test-run-{name}"),
            whole: paths(name),
            shards: shards
                .iter()
                .map(|shard| ((*shard).to_owned(), paths(shard)))
                .collect(),
        }
    }

    fn named(answers: Vec<(&str, Answer)>) -> String {
        let suite = Suite::of(answers).unwrap();
        let names = suite.targets.iter();
        let names = names.map(|target| format!("{} in {}", target.name, target.directory));
        names.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn shards_have_names_that_differ() {
        insta::assert_snapshot!(named(vec![(".#web", answer("web", &["a", "..", "a b", "a_b"]))]), @r"
        .. in _.
        a in a
        a b in a_b
        a_b in a_b-2
        web in web
        ");
        let several = vec![
            (".#web", answer("web", &["a"])),
            (".#dns", answer("dns", &["a"])),
            ("other#web", answer("web", &["a"])),
        ];
        insta::assert_snapshot!(named(several), @r"
        web/a in web_a
        web in web
        dns/a in dns_a
        dns in dns
        web/a-2 in web_a-2
        web-2 in web-2
        ");
    }

    #[test]
    fn outputs_must_be_known() {
        let mut answer = answer("web", &["a"]);
        answer.shards.get_mut("a").unwrap().output =
            "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9".to_owned();
        let error = Suite::of(vec![(".#web", answer)]).unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
    }
}
