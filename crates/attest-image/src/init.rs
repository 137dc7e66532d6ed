//! The init of a tree: whether there is one that can be started on these machines. A mistake
//! found here would otherwise be a panic of the guest's kernel.

use std::io::{self, Read};

use crate::elf::{self, Unfit};
use crate::tree::{Kind, Node, Tree, TreeError, shown};

/// Where systems have their init, in the order in which the agent looks for it.
pub const INITS: [&str; 6] = [
    "/sbin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/etc/init",
    "/bin/init",
    "/init",
];

/// Bytes of a program in which its headers are looked for; linkers put them first.
const START: u64 = 64 * 1024;
/// Scripts that may start scripts: as many as Linux allows (`fs/exec.c`, `exec_binprm`).
const MOST_SCRIPTS: usize = 5;

/// An init that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// As it was asked for or found: an absolute path in the tree, perhaps of a link.
    pub path: String,
    /// What it is.
    pub kind: InitKind,
}

/// What an init is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitKind {
    /// A program for these machines.
    Program,
    /// A script.
    Script {
        /// The program in the tree that runs it; an absolute path.
        interpreter: String,
    },
}

/// Why a tree has no init that can be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// There is none.
    #[error(
        "it has no init: there is none of {}; images for containers often have none, so take one with an init \
         (as systemd) or install it, or name another with `init`", INITS.join(", ")
    )]
    None,
    /// The one that was asked for, or what a link or script needs, is not there.
    #[error("its init `{path}` cannot be found; name another with `init`")]
    NotFound {
        /// As asked for or found.
        path: String,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// A directory, a device and so on.
    #[error("its init `{path}` is no file")]
    NotAFile {
        /// As asked for or found.
        path: String,
    },
    /// A file that nobody may start.
    #[error("its init `{path}` is not executable (its mode is {mode:04o}); `chmod +x` it")]
    NotExecutable {
        /// As asked for or found.
        path: String,
        /// Its permissions.
        mode: u16,
    },
    /// A program for other machines.
    #[error(
        "its init `{path}` is for {machine}, and machines here are x86-64; get the system for that"
    )]
    Machine {
        /// As asked for or found.
        path: String,
        /// What it is for.
        machine: String,
    },
    /// A program that was cut.
    #[error("its init `{path}` is cut short; the system is damaged")]
    Truncated {
        /// As asked for or found.
        path: String,
    },
    /// Neither a program nor a script.
    #[error("its init `{path}` is neither a program for Linux nor a script")]
    Unknown {
        /// As asked for or found.
        path: String,
    },
    /// Scripts that are run by scripts without an end.
    #[error(
        "its init `{path}` is a script that is run by scripts, more than {MOST_SCRIPTS} of them"
    )]
    Scripts {
        /// As asked for or found.
        path: String,
    },
    /// A program or script that cannot be started alone.
    #[error("its init `{path}` cannot be started without `{needed}`; the system is not whole")]
    Needs {
        /// As asked for or found.
        path: String,
        /// Its interpreter or loader.
        needed: String,
        /// Why that cannot be had.
        #[source]
        source: TreeError,
    },
    /// A file that cannot be read.
    #[error("its init `{path}` cannot be read")]
    Read {
        /// As asked for or found.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The init of a tree: that at a given path, else the first of [`INITS`]. It is looked at as the
/// kernel would: links are followed within the tree, it must be executable, and a program for these
/// machines whose loader is there, or a script whose interpreter is.
///
/// # Errors
/// What is wrong with it.
pub fn check(tree: &Tree, given: Option<&str>) -> Result<Init, InitError> {
    given.map_or_else(|| look(tree), |path| find(tree, path))
}

fn look(tree: &Tree) -> Result<Init, InitError> {
    let mut first = None;
    for path in INITS {
        match find(tree, path) {
            Err(InitError::NotFound { .. }) if !is_named(tree, path) => {}
            // A link that leads nowhere: the kernel would try the next.
            Err(error @ InitError::NotFound { .. }) => first = first.or(Some(error)),
            found => return found,
        }
    }
    Err(first.unwrap_or(InitError::None))
}

/// Whether something is at a path, though it may be a link that leads nowhere.
fn is_named(tree: &Tree, path: &str) -> bool {
    matches!(tree.find(path), Ok(Some(_)))
}

fn find(tree: &Tree, path: &str) -> Result<Init, InitError> {
    let candidate = Candidate { tree, path };
    let node = candidate.node(path).map_err(|source| {
        let path = path.to_owned();
        InitError::NotFound { path, source }
    })?;
    let path = path.to_owned();
    let Some(mut interpreter) = candidate.runnable(node)? else {
        let kind = InitKind::Program;
        return Ok(Init { path, kind });
    };
    for _ in 0..MOST_SCRIPTS {
        let next = candidate.needed(&interpreter)?;
        match candidate.runnable(next)? {
            None => {
                let kind = InitKind::Script { interpreter };
                return Ok(Init { path, kind });
            }
            Some(next) => interpreter = next,
        }
    }
    Err(InitError::Scripts { path })
}

/// What may be the init.
struct Candidate<'a> {
    tree: &'a Tree,
    /// For messages.
    path: &'a str,
}

impl<'a> Candidate<'a> {
    fn node(&self, path: &str) -> Result<&'a Node, TreeError> {
        let (id, _) = self.tree.follow(path)?;
        Ok(self.tree.node(id))
    }

    /// What the init needs.
    fn needed(&self, needed: &str) -> Result<&'a Node, InitError> {
        self.node(needed).map_err(|source| InitError::Needs {
            path: self.path(),
            needed: shown(needed.as_bytes()),
            source,
        })
    }

    /// Whether the kernel can start something; gives the interpreter of a script.
    fn runnable(&self, node: &Node) -> Result<Option<String>, InitError> {
        let Kind::File(contents) = &node.kind else {
            return Err(InitError::NotAFile { path: self.path() });
        };
        let mode = node.attributes.mode;
        if mode & 0o111 == 0 {
            let path = self.path();
            return Err(InitError::NotExecutable { path, mode });
        }
        let mut start = Vec::new();
        let read = contents
            .reader()
            .and_then(|reader| reader.take(START).read_to_end(&mut start));
        read.map_err(|source| InitError::Read {
            path: self.path(),
            source,
        })?;
        if let Some(line) = start.strip_prefix(b"#!") {
            let interpreter = interpreter(line);
            return match interpreter {
                Some(interpreter) => Ok(Some(interpreter)),
                None => Err(InitError::Unknown { path: self.path() }),
            };
        }
        self.program(&start, contents.len()).map(|()| None)
    }

    /// A program of this length that starts so.
    fn program(&self, start: &[u8], length: u64) -> Result<(), InitError> {
        let path = self.path();
        let Some(machine) = elf::machine(start) else {
            return Err(InitError::Unknown { path });
        };
        let segments = match elf::segments(start) {
            Ok(segments) => segments,
            // Its headers are behind what was read.
            Err(Unfit::Truncated) if length > START => return Ok(()),
            Err(Unfit::Truncated) => return Err(InitError::Truncated { path }),
            Err(Unfit::NotElf64 | Unfit::Architecture) => {
                return Err(InitError::Machine { path, machine });
            }
        };
        let mut loaders = segments
            .iter()
            .filter(|segment| segment.kind == elf::INTERPRETER);
        // A loader that is named behind what was read is the kernel's to find.
        let named = loaders.find_map(|loader| loader.bytes.split(|byte| *byte == 0).next());
        if let Some(loader) = named.filter(|loader| !loader.is_empty()) {
            self.needed(&String::from_utf8_lossy(loader))?;
        }
        Ok(())
    }

    fn path(&self) -> String {
        shown(self.path.as_bytes())
    }
}

/// The program that the first line of a script names.
fn interpreter(line: &[u8]) -> Option<String> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let word = words.find(|word| !word.is_empty())?;
    String::from_utf8(word.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::elf;

    fn program() -> Node {
        Node::file(0o755, elf(elf::NOTE, b""))
    }

    fn tree(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Tree {
        let mut tree = Tree::new();
        for (path, node) in nodes {
            tree.insert(path, node).unwrap();
        }
        tree
    }

    fn refused(tree: &Tree, given: Option<&str>) -> String {
        check(tree, given).unwrap_err().to_string()
    }

    #[test]
    fn the_init_is_found_through_links() {
        let tree = tree([
            ("usr/lib/systemd/systemd", program()),
            ("lib", Node::symlink("usr/lib")),
            ("usr/sbin/init", Node::symlink("/lib/systemd/systemd")),
            ("sbin", Node::symlink("usr/sbin")),
            ("opt/init", program()),
        ]);
        let path = |given| check(&tree, given).unwrap().path;
        assert_eq!(path(None), "/sbin/init");
        assert_eq!(path(Some("/opt/init")), "/opt/init");
        assert!(refused(&tree, Some("/none")).contains("`/none` cannot be found"));
        // As the kernel goes on when one leads nowhere.
        let mut tree = tree.clone();
        tree.insert("usr/sbin/init", Node::symlink("nowhere"))
            .unwrap();
        assert_eq!(check(&tree, None).unwrap().path, "/usr/lib/systemd/systemd");
        tree.remove("usr/lib").unwrap();
        assert!(refused(&tree, None).contains("`/sbin/init` cannot be found"));
    }

    #[test]
    fn a_tree_without_an_init_says_where_it_was_looked_for() {
        let said = refused(&tree([("bin/sh", program())]), None);
        assert!(
            said.contains("/sbin/init, /usr/lib/systemd/systemd"),
            "{said}"
        );
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        let mut other = elf(elf::NOTE, b"");
        other[18] = 183;
        let mut smaller = elf(elf::NOTE, b"");
        (smaller[4], smaller[18]) = (1, 3);
        for (node, cause) in [
            (
                Node::file(0o644, elf(elf::NOTE, b"")),
                "not executable (its mode is 0644)",
            ),
            (Node::file(0o755, other), "is for AArch64, and"),
            (Node::file(0o755, smaller), "is for i386, and"),
            (
                Node::file(0o755, &elf(elf::NOTE, b"")[..70]),
                "is cut short",
            ),
            (Node::file(0o755, "text"), "neither a program"),
            (Node::file(0o755, ""), "neither a program"),
            (Node::file(0o755, "#!"), "neither a program"),
            (Node::directory(0o755), "is no file"),
            (Node::character(0o755, 1, 3), "is no file"),
            (
                Node::file(0o755, elf(elf::INTERPRETER, b"/lib64/ld.so\0")),
                "without `/lib64/ld.so`",
            ),
            (Node::file(0o755, "#!/bin/sh\n"), "without `/bin/sh`"),
            (Node::file(0o755, "#! /sbin/init -x"), "more than 5"),
        ] {
            let said = refused(&tree([("sbin/init", node)]), None);
            assert!(
                said.contains("`/sbin/init`") && said.contains(cause),
                "{said}"
            );
        }
    }

    #[test]
    fn a_script_needs_its_interpreter_and_that_its_loader() {
        let mut tree = tree([
            ("init", Node::file(0o755, "#!\t/bin/sh -e\nexec x\n")),
            (
                "bin/sh",
                Node::file(0o755, elf(elf::INTERPRETER, b"/lib/ld\0")),
            ),
        ]);
        assert!(refused(&tree, None).contains("without `/lib/ld`"));
        tree.insert("lib/ld", program()).unwrap();
        let kind = InitKind::Script {
            interpreter: "/bin/sh".to_owned(),
        };
        assert_eq!(check(&tree, None).unwrap().kind, kind);
        tree.insert("bin/sh", Node::file(0o644, "")).unwrap();
        assert!(refused(&tree, None).contains("not executable"));
    }
}
