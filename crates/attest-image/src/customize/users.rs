//! Users, as useradd(8) and usermod(8) make and change them: `/etc/passwd`, `/etc/group`, and
//! their shadows where the system has these.

use super::CustomizeError;
use super::error::Near;
use super::text::TextFile;
use crate::root::NewUser;
use crate::tree::{Node, Tree};

/// Numbers for users, as login.defs(5) has them.
const IDS: std::ops::RangeInclusive<u32> = 1000..=59_999;
/// No password has this hash, yet the user is not locked (shadow(5)).
const NO_PASSWORD: &str = "*";
/// Mode of a home, `HOME_MODE` of login.defs(5).
const HOME_MODE: u16 = 0o700;
/// What a new home begins with.
const SKELETON: &str = "etc/skel";

/// Add users, or change those that are there: what is not given stays. Files of one whose number
/// changes keep their owner. A home that is missing is made, of `/etc/skel`.
///
/// # Errors
/// Numbers that others have, groups that are not there, damaged files.
pub fn add(tree: &mut Tree, users: &[NewUser]) -> Result<(), CustomizeError> {
    if users.is_empty() {
        return Ok(());
    }
    let mut accounts = Accounts::read(tree)?;
    for user in users {
        let owner = accounts.add(tree, user)?;
        owner.make_home(tree)?;
    }
    accounts.write(tree)
}

/// The four files.
struct Accounts {
    passwd: Table,
    group: Table,
    shadow: Option<Table>,
    gshadow: Option<Table>,
}

/// A user that was added.
struct Owner {
    uid: u32,
    gid: u32,
    home: String,
}

impl Accounts {
    fn read(tree: &Tree) -> Result<Self, CustomizeError> {
        let shadow = |path| Ok::<_, CustomizeError>(TextFile::find(tree, path)?.map(Table));
        Ok(Self {
            passwd: Table(TextFile::find_or_new(tree, "etc/passwd", 0o644)?),
            group: Table(TextFile::find_or_new(tree, "etc/group", 0o644)?),
            shadow: shadow("etc/shadow")?,
            gshadow: shadow("etc/gshadow")?,
        })
    }

    fn write(&self, tree: &mut Tree) -> Result<(), CustomizeError> {
        let shadows = [&self.shadow, &self.gshadow].into_iter().flatten();
        let tables = [&self.passwd, &self.group].into_iter().chain(shadows);
        for Table(file) in tables {
            file.write(tree)?;
        }
        Ok(())
    }

    fn add(&mut self, tree: &Tree, user: &NewUser) -> Result<Owner, CustomizeError> {
        let there = self.passwd.row(&user.name);
        let uid = self.uid(user, there.as_ref())?;
        let gid = match (user.gid, &there) {
            (None, Some(there)) => there.number(3).unwrap_or(uid),
            (gid, _) => self.own_group(user, gid, uid)?,
        };
        let old = |field| there.as_ref().map(|row| row.field(field).to_owned());
        let home = user.home.clone().or_else(|| old(5));
        let home = home.unwrap_or_else(|| format!("/home/{}", user.name));
        let shell = user.shell.clone().or_else(|| old(6));
        let shell = shell.unwrap_or_else(|| default_shell(tree).to_owned());
        let password = self.password(user, old(1));
        let (uid_text, gid_text) = (uid.to_string(), gid.to_string());
        let comment = old(4).unwrap_or_default();
        let fields = [
            &*user.name,
            &password,
            &uid_text,
            &gid_text,
            &comment,
            &home,
            &shell,
        ];
        self.passwd.set(&fields);
        for group in &user.groups {
            self.join(user, group)?;
        }
        Ok(Owner { uid, gid, home })
    }

    fn uid(&self, user: &NewUser, there: Option<&Row>) -> Result<u32, CustomizeError> {
        let taken = |id: u32| self.passwd.owner_of(id).filter(|owner| *owner != user.name);
        let Some(uid) = user.uid.or_else(|| there.and_then(|row| row.number(2))) else {
            // Its group is to have the same number.
            let free = |id: &u32| {
                let group = self.group.owner_of(*id);
                let group = group.filter(|owner| *owner != user.name);
                taken(*id).is_none() && group.is_none()
            };
            return IDS.clone().find(free).ok_or_else(|| CustomizeError::NoId {
                user: user.name.clone(),
            });
        };
        match taken(uid) {
            // What is there already may share its number on purpose, as `toor` does.
            Some(owner) if user.uid.is_some() => Err(CustomizeError::IdTaken {
                user: user.name.clone(),
                what: "uid",
                id: uid,
                owner: format!("the user `{owner}`"),
            }),
            _ => Ok(uid),
        }
    }

    /// The group of the user's name.
    fn own_group(
        &mut self,
        user: &NewUser,
        gid: Option<u32>,
        uid: u32,
    ) -> Result<u32, CustomizeError> {
        let there = self.group.row(&user.name);
        if let (None, Some(there)) = (gid, &there)
            && let Some(gid) = there.number(2)
        {
            return Ok(gid);
        }
        let wanted = gid.unwrap_or(uid);
        let owner = self
            .group
            .owner_of(wanted)
            .filter(|owner| *owner != user.name);
        let id = match (owner, gid) {
            (None, _) => wanted,
            (Some(owner), Some(id)) => {
                return Err(CustomizeError::IdTaken {
                    user: user.name.clone(),
                    what: "gid",
                    id,
                    owner: format!("the group `{owner}`"),
                });
            }
            (Some(_), None) => {
                let free = IDS.clone().find(|id| self.group.owner_of(*id).is_none());
                free.ok_or_else(|| CustomizeError::NoId {
                    user: user.name.clone(),
                })?
            }
        };
        let members = there.as_ref().map_or("", |row| row.field(3));
        self.group.set(&[&user.name, "x", &id.to_string(), members]);
        if there.is_none()
            && let Some(gshadow) = &mut self.gshadow
        {
            gshadow.set(&[&user.name, "!", "", ""]);
        }
        Ok(id)
    }

    /// What stands in `/etc/passwd`; the hash goes to the shadow where there is one.
    fn password(&mut self, user: &NewUser, old: Option<String>) -> String {
        let Some(shadow) = &mut self.shadow else {
            let own = user.password_hash.clone().or(old);
            return own.unwrap_or_else(|| NO_PASSWORD.to_owned());
        };
        let there = shadow.row(&user.name);
        let rest = there.as_ref().map(|row| row.after(2));
        let hash = user.password_hash.clone();
        let hash = hash.or_else(|| there.as_ref().map(|row| row.field(1).to_owned()));
        let hash = hash.unwrap_or_else(|| NO_PASSWORD.to_owned());
        // Without a day of the last change, passwords do not age (shadow(5)).
        let rest = rest.unwrap_or_else(|| ":0:99999:7:::".to_owned());
        shadow.set(&[&user.name, &hash, &rest]);
        "x".to_owned()
    }

    fn join(&mut self, user: &NewUser, group: &str) -> Result<(), CustomizeError> {
        let Some(row) = self.group.row(group) else {
            return Err(CustomizeError::NoGroup {
                user: user.name.clone(),
                group: group.to_owned(),
                near: Near::of(group, self.group.names()),
            });
        };
        self.group.set(&row.with_member(3, &user.name));
        if let Some(gshadow) = &mut self.gshadow
            && let Some(row) = gshadow.row(group)
        {
            gshadow.set(&row.with_member(3, &user.name));
        }
        Ok(())
    }
}

fn default_shell(tree: &Tree) -> &'static str {
    if tree.get("bin/bash").is_some() {
        "/bin/bash"
    } else {
        "/bin/sh"
    }
}

impl Owner {
    fn make_home(&self, tree: &mut Tree) -> Result<(), CustomizeError> {
        if tree.get(&self.home).is_some() {
            return Ok(());
        }
        tree.insert(
            &self.home,
            Node::directory(HOME_MODE).owned(self.uid, self.gid),
        )?;
        let Ok((_, skeleton)) = tree.follow(SKELETON) else {
            return Ok(());
        };
        let below = [&skeleton, &b"/"[..]].concat();
        let copies: Vec<(Vec<u8>, Node)> = tree
            .walk()
            .filter_map(|visit| {
                let name = visit.path.strip_prefix(&*below)?;
                let node = if visit.node.is_directory() {
                    // What is in it comes by itself.
                    Node::directory(0).with(visit.node.attributes.clone())
                } else {
                    visit.node.clone()
                };
                Some(([self.home.as_bytes(), b"/", name].concat(), node))
            })
            .collect();
        for (path, node) in copies {
            tree.insert(path, node.owned(self.uid, self.gid))?;
        }
        Ok(())
    }
}

/// Lines of fields with colons between.
struct Table(TextFile);

/// A line of a table.
struct Row(Vec<String>);

impl Table {
    fn rows(&self) -> impl Iterator<Item = (usize, Vec<&str>)> {
        let lines = self.0.lines.iter().enumerate();
        lines.map(|(at, line)| (at, line.split(':').collect()))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.rows()
            .filter_map(|(_, fields)| fields.first().copied())
    }

    fn row(&self, name: &str) -> Option<Row> {
        let found = self.rows().find(|(_, fields)| fields[0] == name);
        found.map(|(_, fields)| Row(fields.into_iter().map(str::to_owned).collect()))
    }

    /// Who has a number; it is the third field of users and of groups.
    fn owner_of(&self, id: u32) -> Option<String> {
        let id = id.to_string();
        let found = self.rows().find(|(_, fields)| fields.get(2) == Some(&&*id));
        found.map(|(_, fields)| fields[0].to_owned())
    }

    /// Put a row in the place of that with the same name, or at the end.
    fn set<T: AsRef<str>>(&mut self, fields: &[T]) {
        let fields: Vec<&str> = fields.iter().map(AsRef::as_ref).collect();
        let line = fields.join(":");
        let there = self.rows().find(|(_, row)| row[0] == fields[0]);
        let place = there.map(|(at, _)| at);
        match place {
            Some(at) => self.0.lines[at] = line,
            None => self.0.lines.push(line),
        }
    }
}

impl Row {
    fn field(&self, at: usize) -> &str {
        self.0.get(at).map_or("", String::as_str)
    }

    fn number(&self, at: usize) -> Option<u32> {
        self.field(at).parse().ok()
    }

    /// All fields from one on.
    fn after(&self, at: usize) -> String {
        self.0.get(at..).unwrap_or_default().join(":")
    }

    fn with_member(mut self, at: usize, member: &str) -> Vec<String> {
        if self.0.len() <= at {
            self.0.resize(at + 1, String::new());
        }
        let members = &mut self.0[at];
        if !members.split(',').any(|each| each == member) {
            if !members.is_empty() {
                members.push(',');
            }
            members.push_str(member);
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let mut file = |path: &str, mode, text: &str| {
            tree.insert(path, Node::file(mode, text).owned(0, 42))
                .unwrap();
        };
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\ngames:x:5:60:games:/usr/games:/usr/sbin/nologin\n";
        file("etc/passwd", 0o644, passwd);
        file(
            "etc/group",
            0o644,
            "root:x:0:\nsudo:x:27:\ngames:x:60:\nstaff:x:1001:\n",
        );
        file(
            "etc/shadow",
            0o640,
            "root:*:19000:0:99999:7:::\ngames:*:19000:0:99999:7:::\n",
        );
        file("etc/gshadow", 0o640, "root:*::\nsudo:*::\n");
        file("etc/skel/.bashrc", 0o644, "# rc\n");
        file("bin/bash", 0o755, "");
        tree.insert("root", Node::directory(0o700)).unwrap();
        tree
    }

    fn named(name: &str) -> NewUser {
        NewUser {
            name: name.to_owned(),
            ..NewUser::default()
        }
    }

    fn line(tree: &Tree, path: &str, name: &str) -> String {
        let file = TextFile::find(tree, path).unwrap().unwrap();
        let begins = format!("{name}:");
        file.lines
            .into_iter()
            .find(|line| line.starts_with(&begins))
            .unwrap_or_default()
    }

    #[test]
    fn a_user_is_added_to_all_four_files() {
        let mut tree = tree();
        let alice = NewUser {
            groups: vec!["sudo".to_owned()],
            ..named("alice")
        };
        add(&mut tree, &[alice, named("bob")]).unwrap();
        assert_eq!(
            line(&tree, "etc/passwd", "alice"),
            "alice:x:1000:1000::/home/alice:/bin/bash"
        );
        assert_eq!(line(&tree, "etc/shadow", "alice"), "alice:*::0:99999:7:::");
        assert_eq!(line(&tree, "etc/group", "alice"), "alice:x:1000:");
        assert_eq!(line(&tree, "etc/gshadow", "alice"), "alice:!::");
        assert_eq!(line(&tree, "etc/group", "sudo"), "sudo:x:27:alice");
        assert_eq!(line(&tree, "etc/gshadow", "sudo"), "sudo:*::alice");
        // 1001 is a group's.
        assert!(line(&tree, "etc/passwd", "bob").starts_with("bob:x:1002:1002:"));
        let rc = tree.get("home/alice/.bashrc").unwrap();
        assert_eq!((rc.attributes.uid, rc.attributes.mode), (1000, 0o644));
        assert_eq!(tree.get("home/alice").unwrap().attributes.mode, 0o700);
        let shadow = &tree.get("etc/shadow").unwrap().attributes;
        assert_eq!((shadow.mode, shadow.gid), (0o640, 42));
    }

    #[test]
    fn of_one_that_is_there_only_what_is_given_changes() {
        let mut tree = tree();
        let root = NewUser {
            password_hash: Some(String::new()),
            ..named("root")
        };
        let games = NewUser {
            shell: Some("/bin/sh".to_owned()),
            ..named("games")
        };
        add(&mut tree, &[root, games]).unwrap();
        assert_eq!(
            line(&tree, "etc/passwd", "root"),
            "root:x:0:0:root:/root:/bin/bash"
        );
        assert_eq!(
            line(&tree, "etc/shadow", "root"),
            "root::19000:0:99999:7:::"
        );
        assert_eq!(
            line(&tree, "etc/passwd", "games"),
            "games:x:5:60:games:/usr/games:/bin/sh"
        );
        assert_eq!(tree.get("root").unwrap().attributes.mode, 0o700);
    }

    #[test]
    fn a_system_without_shadows_or_users_has_hashes_in_passwd() {
        let mut tree = Tree::new();
        let root = NewUser {
            uid: Some(0),
            home: Some("/root".to_owned()),
            password_hash: Some("$6$x".to_owned()),
            ..named("root")
        };
        add(&mut tree, &[root]).unwrap();
        assert_eq!(
            line(&tree, "etc/passwd", "root"),
            "root:$6$x:0:0::/root:/bin/sh"
        );
        assert_eq!(line(&tree, "etc/group", "root"), "root:x:0:");
        assert!(tree.get("etc/shadow").is_none());
    }

    #[test]
    fn what_others_have_is_refused() {
        let refused = |user: NewUser| add(&mut tree(), &[user]).unwrap_err().to_string();
        let uid = refused(NewUser {
            uid: Some(5),
            ..named("a")
        });
        assert!(uid.contains("uid 5: it is the user `games`'s"), "{uid}");
        let gid = refused(NewUser {
            gid: Some(27),
            ..named("a")
        });
        assert!(gid.contains("gid 27: it is the group `sudo`'s"), "{gid}");
        let group = refused(NewUser {
            groups: vec!["sudp".to_owned()],
            ..named("a")
        });
        assert!(
            group.contains("`sudp`") && group.contains("it has `sudo`"),
            "{group}"
        );
    }

    #[test]
    fn an_own_number_is_taken() {
        let mut tree = tree();
        let user = NewUser {
            uid: Some(1001),
            home: Some("/srv/a".to_owned()),
            ..named("a")
        };
        add(&mut tree, &[user]).unwrap();
        // The group 1001 is another's.
        assert_eq!(
            line(&tree, "etc/passwd", "a"),
            "a:x:1001:1000::/srv/a:/bin/bash"
        );
        assert_eq!(tree.get("srv/a").unwrap().attributes.gid, 1000);
    }
}
