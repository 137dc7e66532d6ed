//! What Nix says while it builds: its log as JSON, one object a line, in which every build is an activity with a
//! number. Nothing is decided by it; it tells who watches where a build runs, what it prints, and when to look for
//! outputs. (`nix --log-format internal-json`, the same from 2.4 on.)

use std::collections::HashMap;

use anstream::adapter::strip_str;
use serde::Deserialize;
use serde_json::Value;

/// What a line of Nix's log begins with when it is JSON.
const MARK: &[u8] = b"@nix ";
/// Of an activity: a derivation is built. Its fields are the derivation and the builder. (Nix, `logging.hh`.)
const BUILD: u64 = 105;
/// Of a result: a line of a build's log, and of what a hook runs after a build.
const LINES: [u64; 2] = [101, 107];
/// Of a result: how many there are done, expected, running and failed.
const COUNTS: u64 = 105;
/// Of a message: an error, and a warning.
const ERROR: i64 = 0;
const WARNING: i64 = 1;
/// Of a message: what is told without being asked.
const INFO: i64 = 3;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A build began.
    Began {
        derivation: String,
        /// Which machine builds it; none is this one.
        builder: Option<String>,
        text: String,
    },
    /// A build printed a line.
    Printed { derivation: String, line: String },
    /// A build may have ended.
    Ended {
        /// Which, if it is known.
        derivation: Option<String>,
    },
    /// Something went wrong.
    Error(String),
    /// Something may have gone wrong.
    Warning(String),
    /// For those who read along.
    Told(String),
    /// Nothing that anybody wants to know.
    Nothing,
}

/// A line of JSON.
#[derive(Deserialize)]
struct Line {
    action: String,
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    level: i64,
    #[serde(default)]
    text: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    fields: Vec<Value>,
}

/// Reads what Nix says.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Derivations by the numbers of the activities that build them.
    builds: HashMap<u64, String>,
    /// How many are done or have failed, by the numbers of the activities that count them.
    counts: HashMap<u64, u64>,
}

impl Listener {
    pub(super) fn hear(&mut self, line: &[u8]) -> Said {
        let json = line.strip_prefix(MARK);
        let Some(said) = json.and_then(|json| serde_json::from_slice(json).ok()) else {
            return plain(&String::from_utf8_lossy(line));
        };
        let said: Line = said;
        match said.action.as_str() {
            "start" => self.started(&said),
            "result" => self.result(&said),
            "stop" => match self.builds.remove(&said.id) {
                Some(derivation) => Said::Ended {
                    derivation: Some(derivation),
                },
                None => Said::Nothing,
            },
            "msg" if said.level <= ERROR => Said::Error(clean(&said.msg)),
            "msg" if said.level <= WARNING => Said::Warning(clean(&said.msg)),
            "msg" if said.level <= INFO => Said::Told(clean(&said.msg)),
            _ => Said::Nothing,
        }
    }

    fn started(&mut self, said: &Line) -> Said {
        let field = |index: usize| said.fields.get(index).and_then(Value::as_str);
        match (said.kind, field(0)) {
            (BUILD, Some(derivation)) => {
                self.builds.insert(said.id, derivation.to_owned());
                let builder = field(1).filter(|builder| !builder.is_empty());
                Said::Began {
                    derivation: derivation.to_owned(),
                    builder: builder.map(str::to_owned),
                    text: clean(&said.text),
                }
            }
            _ if said.level <= INFO && !said.text.is_empty() => Said::Told(clean(&said.text)),
            _ => Said::Nothing,
        }
    }

    fn result(&mut self, said: &Line) -> Said {
        if said.kind == COUNTS {
            let count = |index: usize| said.fields.get(index).and_then(Value::as_u64);
            let over = count(0).unwrap_or_default() + count(3).unwrap_or_default();
            let before = self.counts.insert(said.id, over).unwrap_or_default();
            if over > before {
                return Said::Ended { derivation: None };
            }
        }
        let line = said.fields.first().and_then(Value::as_str);
        match (self.builds.get(&said.id), line) {
            (Some(derivation), Some(line)) if LINES.contains(&said.kind) => Said::Printed {
                derivation: derivation.clone(),
                line: clean(line),
            },
            _ => Said::Nothing,
        }
    }
}

/// What others say in between: Nix's helpers, ssh.
fn plain(line: &str) -> Said {
    let is_error = strip_str(line).to_string().starts_with("error:");
    match clean(line) {
        error if is_error => Said::Error(error),
        line if line.is_empty() => Said::Nothing,
        line => Said::Told(line),
    }
}

/// Without colours, and without the word with which errors begin.
fn clean(text: &str) -> String {
    let text = strip_str(text).to_string();
    let text = text.strip_prefix("error:").unwrap_or(&text);
    text.trim().to_owned()
}

/// A path of the store without the store.
pub(super) fn base_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The name of a derivation: what its path is without the store, the hash and the ending.
pub(super) fn name_of(derivation: &str) -> &str {
    let base = base_of(derivation);
    let name = base.split_once('-').map_or(base, |(_, name)| name);
    name.strip_suffix(".drv").unwrap_or(name)
}

/// A builder without its parameters: enough to know it by.
pub(super) fn place_of(builder: &str) -> &str {
    builder.split('?').next().unwrap_or(builder)
}

/// An error of Nix's as one line: without what stands elsewhere, as the last lines of the build's log.
pub(super) fn gist(error: &str) -> String {
    let is_rest = |line: &&str| {
        [
            "Output paths:",
            "last ",
            "Last ",
            "For full logs",
            "> ",
            "derivation:",
        ]
        .iter()
        .any(|rest| line.starts_with(rest))
    };
    let lines = error.lines().map(str::trim);
    let lines: Vec<&str> = lines.take_while(|line| !is_rest(line)).collect();
    lines.join(" ").trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/310xkpldky0wg8misi9vgjcy4yf99pc9-attest-shard-a.drv";

    fn hear(lines: &[&str]) -> Vec<Said> {
        let mut listener = Listener::default();
        let said = lines.iter().map(|line| listener.hear(line.as_bytes()));
        said.filter(|said| *said != Said::Nothing).collect()
    }

    #[test]
    fn a_build_elsewhere_is_followed_from_its_begin_to_its_end() {
        // As 2.8 wrote it; the builder's own Nix says the same once more, without its name.
        let said = hear(&[
            r#"@nix {"action":"start","id":1,"level":0,"text":"","type":104}"#,
            r#"@nix {"action":"result","fields":[0,1,0,0],"id":1,"type":105}"#,
            r#"@nix {"action":"start","fields":["/nix/store/310xkpldky0wg8misi9vgjcy4yf99pc9-attest-shard-a.drv","/s/b1",1,1],"id":7,"level":3,"text":"building '/nix/store/310xkpldky0wg8misi9vgjcy4yf99pc9-attest-shard-a.drv' on '/s/b1'","type":105}"#,
            r#"@nix {"action":"start","fields":["/nix/store/310xkpldky0wg8misi9vgjcy4yf99pc9-attest-shard-a.drv","",1,1],"id":8,"level":3,"text":"building","type":105}"#,
            r#"@nix {"action":"result","fields":["hello"],"id":8,"type":101}"#,
            r#"@nix {"action":"result","fields":[0,1,1,0],"id":1,"type":105}"#,
            r#"@nix {"action":"result","fields":[1,1,0,0],"id":1,"type":105}"#,
            r#"@nix {"action":"stop","id":7}"#,
            r#"@nix {"action":"stop","id":1}"#,
        ]);
        let began = |builder: Option<&str>, text: &str| Said::Began {
            derivation: DRV.to_owned(),
            builder: builder.map(str::to_owned),
            text: text.to_owned(),
        };
        let ended = |derivation: Option<&str>| Said::Ended {
            derivation: derivation.map(str::to_owned),
        };
        assert_eq!(
            said,
            [
                began(Some("/s/b1"), &format!("building '{DRV}' on '/s/b1'")),
                began(None, "building"),
                Said::Printed {
                    derivation: DRV.to_owned(),
                    line: "hello".to_owned()
                },
                ended(None),
                ended(Some(DRV)),
            ]
        );
    }

    #[test]
    fn errors_are_told_from_the_rest() {
        let said = hear(&[
            r#"@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m builder failed"}"#,
            r#"@nix {"action":"msg","level":1,"msg":"\u001b[35;1mwarning:\u001b[0m no machine"}"#,
            r#"@nix {"action":"msg","level":3,"msg":"these 3 derivations will be built:"}"#,
            r#"@nix {"action":"msg","level":5,"msg":"whatever"}"#,
            "error: unable to start any build",
            "Connection to b1 closed.",
            "@nix {",
            "",
        ]);
        assert_eq!(
            said,
            [
                Said::Error("builder failed".to_owned()),
                Said::Warning("warning: no machine".to_owned()),
                Said::Told("these 3 derivations will be built:".to_owned()),
                Said::Error("unable to start any build".to_owned()),
                Said::Told("Connection to b1 closed.".to_owned()),
                Said::Told("@nix {".to_owned()),
            ]
        );
    }

    #[test]
    fn an_error_has_a_gist() {
        let old =
            "builder for 'x' failed with exit code 1;\n       last 2 log lines:\n       > one";
        assert_eq!(gist(old), "builder for 'x' failed with exit code 1");
        let new = "Cannot build 'x'.\n       Reason: builder failed due to signal 9 (Killed).\n       Output paths:\n         y";
        assert_eq!(
            gist(new),
            "Cannot build 'x'. Reason: builder failed due to signal 9 (Killed)."
        );
    }

    #[test]
    fn derivations_have_names() {
        assert_eq!(name_of(DRV), "attest-shard-a");
        assert_eq!(name_of("x"), "x");
    }
}
