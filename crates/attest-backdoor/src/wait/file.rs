//! Files: appear, vanish, come to match.

use attest_protocol::message::Failure;

use super::{Waiting, regex};
use crate::quote::quote;
use crate::script::own;

/// Bytes at the end of a file in which a match is looked for, as an agent has it.
const LOOKED_AT: usize = 4 * 1024 * 1024;
/// Bytes of a file that a failure shows.
const SHOWN: usize = 200;

pub(super) async fn exists(waiting: &Waiting<'_>, path: &[u8]) -> Result<(), Failure> {
    let path = quote(path);
    let script = [
        b"test -e ".as_slice(),
        &path,
        b" || { ls -d -- ",
        &path,
        b" 2>&1; exit 1; }",
    ]
    .concat();
    looked_at(waiting, &script, last_line).await
}

pub(super) async fn vanished(waiting: &Waiting<'_>, path: &[u8]) -> Result<(), Failure> {
    let path = quote(path);
    let script = [
        b"p=".as_slice(),
        &path,
        b"; if test -e \"$p\" || test -L \"$p\"; then ls -ld -- \"$p\"; exit 1; fi",
    ]
    .concat();
    let seen = |said: &[u8]| format!("it is there: {}", last_line(said));
    looked_at(waiting, &script, seen).await
}

/// Until the script succeeds; else what it said was seen, in these words.
async fn looked_at(
    waiting: &Waiting<'_>,
    script: &[u8],
    seen: impl Fn(&[u8]) -> String,
) -> Result<(), Failure> {
    let seen = &seen;
    waiting
        .until(|| async {
            let (status, said) = waiting.look(script, "a look at a file").await?;
            if status == 0 {
                return Ok(Some(()));
            }
            waiting.saw(seen(&said));
            Ok(None)
        })
        .await
}

/// The file is matched here, for the guest's patterns are of another kind.
pub(super) async fn matches(
    waiting: &Waiting<'_>,
    path: &[u8],
    pattern: &str,
) -> Result<(), Failure> {
    let regex = &regex(pattern)?;
    let script = [
        format!("tail -c {LOOKED_AT} -- ").as_bytes(),
        &quote(path),
        b" 2>&1",
    ]
    .concat();
    let script = &script;
    waiting
        .until(|| async {
            let line = own(script, "a look into a file", waiting.left());
            let (status, text) = waiting.guest.shell.capture(line, LOOKED_AT).await?;
            if status == 0 && regex.is_match(&text) {
                return Ok(Some(()));
            }
            waiting.saw(match (status, text.len()) {
                (0, 0) => "it is empty".to_owned(),
                (0, length) => {
                    let end = &text[length.saturating_sub(SHOWN)..];
                    format!("it ends with {:?}", String::from_utf8_lossy(end))
                }
                _ => last_line(&text),
            });
            Ok(None)
        })
        .await
}

pub(super) fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.trim_end().lines().next_back().unwrap_or("nothing");
    attest_protocol::one_line(line)
}
