//! Users of the guest, from its files: a static program has no name service.

use std::fs;

use attest_protocol::message::{Failure, FailureCode};
use nix::unistd::{Gid, Uid};

use crate::failure::{failure, os};

/// A user and its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
    pub(crate) home: String,
    pub(crate) shell: String,
}

pub(crate) fn find(name: &str) -> Result<User, Failure> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(|error| os("/etc/passwd", &error))?;
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    parse(name, &passwd, &group).ok_or_else(|| {
        failure(
            FailureCode::NotFound,
            format!("no user `{name}` in the guest's /etc/passwd"),
        )
    })
}

fn parse(name: &str, passwd: &str, group: &str) -> Option<User> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let [_, _, uid, gid, _, home, shell] = line.split(':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let gid = Gid::from_raw(gid.parse().ok()?);
    let mut groups = vec![gid];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, number, members] = fields[..]
            && members.split(',').any(|member| member == name)
            && let Ok(number) = number.parse()
        {
            groups.push(Gid::from_raw(number));
        }
    }
    groups.dedup();
    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
    Some(User {
        name: name.to_owned(),
        uid: Uid::from_raw(uid.parse().ok()?),
        gid,
        groups,
        home: home.to_owned(),
        shell: shell.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:100:Alice,,,:/home/alice:\nbroken:x\n";
    const GROUP: &str = "users:x:100:\nwheel:x:10:bob,alice\naudio:x:29:bob\n";

    #[test]
    fn users_have_all_their_groups() {
        let alice = parse("alice", PASSWD, GROUP).unwrap();
        assert_eq!(alice.groups, [Gid::from_raw(100), Gid::from_raw(10)]);
        assert_eq!(
            (alice.home.as_str(), alice.shell.as_str()),
            ("/home/alice", "/bin/sh")
        );
        assert_eq!(parse("broken", PASSWD, GROUP), None);
        assert_eq!(parse("nobody", PASSWD, GROUP), None);
    }
}
