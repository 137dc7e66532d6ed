//! The paths of a closure, as Nix lists them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::{NixError, STORE, is_name};
use crate::tree::shown;

/// The names in the store that a list has, in any of three forms: a path a line, as in the `store-paths` of a
/// `closureInfo`; the records of `exportReferencesGraph` (a path, what made it, a number, and so many paths that it
/// refers to, a line each); or the JSON of structured attributes, with graphs as arrays of objects that have a `path`.
pub(super) fn names(list: &[u8]) -> Result<BTreeSet<String>, NixError> {
    let text = String::from_utf8_lossy(list);
    if text.trim_start().starts_with('{') {
        return of_attributes(&text);
    }
    let lines: Vec<&str> = text.lines().collect();
    // The first record's number; a list of paths has none.
    if lines.get(2).is_some_and(|line| is_number(line)) {
        return of_records(&lines);
    }
    let paths = lines.into_iter().filter(|line| !line.is_empty());
    paths.map(name).collect()
}

fn of_attributes(text: &str) -> Result<BTreeSet<String>, NixError> {
    nodes(text)?.iter().map(|node| name(&node.path)).collect()
}

/// What Nix knows of a path, as the graphs of structured attributes have it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    path: String,
    nar_hash: Option<String>,
    nar_size: Option<u64>,
    #[serde(default)]
    references: Vec<String>,
}

/// All that are objects with a path.
fn nodes(text: &str) -> Result<BTreeSet<Known>, NixError> {
    let unread = |_| NixError::Line {
        line: shown(text.lines().next().unwrap_or_default().as_bytes()),
    };
    let attributes: Value = serde_json::from_str(text).map_err(unread)?;
    let graphs = attributes.as_object().into_iter().flatten();
    let nodes = graphs.filter_map(|(_, value)| value.as_array()).flatten();
    let nodes = nodes.filter_map(|node| serde_json::from_value(node.clone()).ok());
    Ok(nodes.collect())
}

/// What Nix knows of the paths of structured attributes, in the form of `nix-store --load-db`, which is that of the
/// `registration` of a `closureInfo`; nothing of other lists.
pub(super) fn registration(list: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(list);
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut registration = String::new();
    for node in nodes(&text).ok()? {
        let (hash, size) = (node.nar_hash?, node.nar_size?);
        let count = node.references.len();
        // Who made it is not known.
        let _ = write!(registration, "{}\n{hash}\n{size}\n\n{count}\n", node.path);
        for reference in node.references {
            let _ = writeln!(registration, "{reference}");
        }
    }
    Some(registration.into_bytes())
}

fn of_records(lines: &[&str]) -> Result<BTreeSet<String>, NixError> {
    let mut names = BTreeSet::new();
    let mut lines = lines.iter();
    while let Some(path) = lines.next() {
        names.insert(name(path)?);
        let references = lines.nth(1).and_then(|number| number.parse::<usize>().ok());
        let references = references.ok_or_else(|| wrong(path))?;
        // Each has a record of its own.
        for _ in 0..references {
            lines.next().ok_or_else(|| wrong(path))?;
        }
    }
    Ok(names)
}

fn is_number(line: &str) -> bool {
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
}

fn name(line: &str) -> Result<String, NixError> {
    let name = line
        .strip_prefix(STORE)
        .and_then(|rest| rest.strip_prefix('/'));
    let name = name.filter(|name| is_name(name));
    name.map(str::to_owned).ok_or_else(|| wrong(line))
}

fn wrong(line: &str) -> NixError {
    NixError::Line {
        line: shown(line.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(letter: char) -> String {
        format!("{STORE}/{}-x", letter.to_string().repeat(32))
    }

    fn found(list: &str) -> Vec<String> {
        let names = names(list.as_bytes()).unwrap();
        names.into_iter().map(|name| name[..1].to_owned()).collect()
    }

    #[test]
    fn each_form_of_a_list_is_read() {
        let (one, two) = (path('1'), path('2'));
        assert_eq!(found(&format!("{one}\n{two}\n")), ["1", "2"]);
        assert_eq!(found(&format!("{two}\n")), ["2"]);
        assert_eq!(found(""), Vec::<String>::new());
        let drv = path('3');
        let graph = format!("{one}\n{drv}.drv\n2\n{one}\n{two}\n{two}\n\n0\n");
        assert_eq!(found(&graph), ["1", "2"]);
        let json = format!(
            r#"{{"closure": [{{"path": "{one}", "narSize": 1}}, {{"path": "{two}"}}], "name": "x", "n": [1]}}"#
        );
        assert_eq!(found(&json), ["1", "2"]);
    }

    #[test]
    fn what_nix_knows_is_in_structured_attributes() {
        let (one, two) = (path('1'), path('2'));
        let of = |path: &str, references: &str| {
            format!(
                r#"{{"path": "{path}", "narHash": "sha256:x", "narSize": 7, "references": [{references}]}}"#
            )
        };
        let json = format!(
            r#"{{"closure": [{}, {}], "env": {{}}}}"#,
            of(&two, &format!(r#""{one}", "{two}""#)),
            of(&one, "")
        );
        let text = registration(json.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("{one}\nsha256:x\n7\n\n0\n{two}\nsha256:x\n7\n\n2\n{one}\n{two}\n")
        );
        let without = format!(r#"{{"closure": [{{"path": "{one}"}}]}}"#);
        assert_eq!(registration(without.as_bytes()), None);
        assert_eq!(registration(format!("{one}\n").as_bytes()), None);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let (one, two) = (path('1'), path('2'));
        for list in [
            "/etc/passwd\n".to_owned(),
            format!("{one}/bin\n"),
            format!("{one}\n\n2\n{two}\n"),
            format!("{one}\n\n0\n{two}\n"),
            "{ no".to_owned(),
        ] {
            let error = names(list.as_bytes()).unwrap_err();
            assert!(matches!(error, NixError::Line { .. }), "{list}: {error}");
        }
    }
}
