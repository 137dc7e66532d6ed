//! Processes, by their command lines, which are matched here.

use attest_protocol::message::Failure;
use regex::bytes::Regex;

use super::{Waiting, regex};
use crate::script::own;

/// Bytes of all command lines.
const LIST: usize = 4 * 1024 * 1024;
/// In the command line of the look itself, which does not count.
const MARK: &str = "attest-looks-at-processes";
/// Each process as its number, a space, and its arguments joined by spaces, ended by NUL. bash
/// reads them itself: a program for each would cost a second under TCG.
const SCRIPT: &str = ": attest-looks-at-processes; IFS=' '; for p in /proc/[0-9]*; do \
    a=(); mapfile -d '' -t a <\"$p/cmdline\" || continue; \
    (( ${#a[@]} )) && printf '%s %s\\0' \"${p##*/}\" \"${a[*]}\"; done 2>/dev/null; exit 0";

pub(super) async fn wait(
    waiting: &Waiting<'_>,
    pattern: &str,
    exists: bool,
) -> Result<(), Failure> {
    let regex = &regex(pattern)?;
    waiting
        .until(|| async {
            let line = own(SCRIPT.as_bytes(), "a look at processes", waiting.left());
            let (_, list) = waiting.guest.shell.capture(line, LIST).await?;
            let found = matching(&list, regex);
            if found.is_empty() != exists {
                return Ok(Some(()));
            }
            waiting.saw(if exists {
                "no process matches".to_owned()
            } else {
                format!("{} processes match: {}", found.len(), found.join(", "))
            });
            Ok(None)
        })
        .await
}

/// `pid command line` of those that match.
fn matching(list: &[u8], regex: &Regex) -> Vec<String> {
    list.split(|byte| *byte == 0)
        .filter_map(|process| {
            let space = memchr::memchr(b' ', process)?;
            let line = &process[space + 1..];
            let is_own = memchr::memmem::find(line, MARK.as_bytes()).is_some();
            (!is_own && regex.is_match(line)).then(|| String::from_utf8_lossy(process).into_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_itself_does_not_count() {
        let list = format!("1 /sbin/init splash\x0077 bash -c {SCRIPT}\x00");
        let any = Regex::new("").unwrap();
        assert_eq!(matching(list.as_bytes(), &any), ["1 /sbin/init splash"]);
    }
}
