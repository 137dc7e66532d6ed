//! Ports by bash's own connections, and Unix sockets by the kernel's list of them: no program is
//! needed that a guest might lack.

use attest_protocol::message::{Failure, FailureCode};

use super::Waiting;
use super::file::last_line;
use crate::failure::failure;
use crate::quote::quote;
use crate::script::own;

/// Seconds for one connection: one to nowhere would else keep the shell for minutes.
const CONNECT: u32 = 5;
/// Bytes of the list of sockets.
const LIST: usize = 4 * 1024 * 1024;

pub(super) async fn port(
    waiting: &Waiting<'_>,
    host: &str,
    port: u16,
    open: bool,
) -> Result<(), Failure> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_%".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(failure(
            FailureCode::Invalid,
            format!("`{host}` is no host"),
        ));
    }
    // Bash without connections of its own takes their names for files'.
    let script = format!(
        "export LC_ALL=C; e=$(timeout {CONNECT} bash -c ': </dev/tcp/{host}/{port}' 2>&1); s=$?; \
         case $e in *'No such file'*) e=$(timeout {CONNECT} nc -z {host} {port} 2>&1); s=$?;; esac; \
         echo \"$e\"; exit $s"
    );
    let script = script.as_bytes();
    waiting
        .until(|| async {
            let (status, said) = waiting.look(script, "a connection to a port").await?;
            if (status == 0) == open {
                return Ok(Some(()));
            }
            waiting.saw(match status {
                0 => "it accepts connections".to_owned(),
                124 => format!("no answer within {CONNECT} s"),
                _ => reason(&last_line(&said)).to_owned(),
            });
            Ok(None)
        })
        .await
}

/// What bash says at last is the kernel's reason.
fn reason(line: &str) -> &str {
    line.rsplit(": ").next().unwrap_or(line)
}

pub(super) async fn unix_socket(waiting: &Waiting<'_>, path: &[u8]) -> Result<(), Failure> {
    let script = [
        b"p=".as_slice(),
        &quote(path),
        b"; test -S \"$p\" || { ls -ld -- \"$p\" 2>&1; exit 1; }; readlink -f -- \"$p\"; cat /proc/net/unix",
    ]
    .concat();
    let script = &script;
    waiting
        .until(|| async {
            let line = own(script, "a look at a socket", waiting.left());
            let (status, said) = waiting.guest.shell.capture(line, LIST).await?;
            if status != 0 {
                waiting.saw(last_line(&said));
                return Ok(None);
            }
            let mut lines = said.split(|byte| *byte == b'\n');
            let real = lines.next().unwrap_or_default();
            if lines.any(|line| accepts(line, path, real)) {
                return Ok(Some(()));
            }
            waiting.saw("it exists; no process listens");
            Ok(None)
        })
        .await
}

/// `__SO_ACCEPTCON` of the kernel's `include/uapi/linux/net.h`: the socket listens.
const ACCEPTCON: u32 = 1 << 16;

/// Whether a line of `/proc/net/unix` is a socket at this path to which one can connect: one that
/// listens, or one of datagrams.
fn accepts(line: &[u8], path: &[u8], real: &[u8]) -> bool {
    // Num RefCount Protocol Flags Type St Inode Path
    let line = String::from_utf8_lossy(line);
    let mut fields = line.split_ascii_whitespace();
    let (Some(flags), Some(kind)) = (fields.nth(3), fields.next()) else {
        return false;
    };
    let Some(bound) = fields.nth(2).map(|first| {
        let start = first.as_ptr() as usize - line.as_ptr() as usize;
        &line[start..]
    }) else {
        return false;
    };
    let listens = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & ACCEPTCON != 0);
    let is_datagram = kind == "0002";
    let same = |path: &[u8]| bound == String::from_utf8_lossy(path);
    (listens || is_datagram) && (same(path) || same(real) || is_same_run(bound, real))
}

/// `/var/run` is `/run` wherever there is one.
fn is_same_run(bound: &str, real: &[u8]) -> bool {
    bound
        .strip_prefix("/var/run/")
        .is_some_and(|rest| real == format!("/run/{rest}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_in_the_kernels_list() {
        let listening = b"0000000012345678: 00000002 00000000 00010000 0001 01 12345 /run/a b.sock";
        let connected = b"0000000012345678: 00000003 00000000 00000000 0001 03 12345 /run/c.sock";
        let datagram = b"0000000012345678: 00000003 00000000 00000000 0002 01 12345 /var/run/log";
        assert!(accepts(listening, b"/run/a b.sock", b"/run/a b.sock"));
        assert!(accepts(listening, b"/link", b"/run/a b.sock"));
        assert!(!accepts(listening, b"/run/a", b"/run/a"));
        assert!(!accepts(connected, b"/run/c.sock", b"/run/c.sock"));
        assert!(accepts(datagram, b"/run/log", b"/run/log"));
        assert!(!accepts(b"", b"", b""));
    }
}
