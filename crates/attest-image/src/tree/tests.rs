use super::*;

fn tree(paths: &[&str]) -> Tree {
    let mut tree = Tree::new();
    for path in paths {
        tree.insert(path, Node::file(0o644, *path)).unwrap();
    }
    tree
}

fn paths(tree: &Tree) -> Vec<String> {
    let paths = tree
        .walk()
        .map(|visit| String::from_utf8(visit.path.into()).unwrap());
    paths.collect()
}

fn text(tree: &Tree, path: &str) -> String {
    let contents = tree
        .get(path)
        .unwrap()
        .contents()
        .unwrap()
        .read(100)
        .unwrap();
    String::from_utf8(contents).unwrap()
}

#[test]
fn a_walk_comes_to_directories_before_what_is_in_them() {
    let tree = tree(&["b", "a/x", "a.b", "/a/./c//d"]);
    assert_eq!(paths(&tree), ["", "a", "a/c", "a/c/d", "a/x", "a.b", "b"]);
}

#[test]
fn the_last_insertion_counts() {
    let mut tree = tree(&["a/x", "b"]);
    tree.insert("a", Node::file(0o644, "new")).unwrap();
    tree.insert("b", Node::directory(0o700)).unwrap();
    assert_eq!(paths(&tree), ["", "a", "b"]);
    assert_eq!((text(&tree, "a"), tree.count()), ("new".to_owned(), 3));
}

#[test]
fn a_directory_over_a_directory_keeps_what_is_in_it() {
    let mut tree = tree(&["a/x"]);
    tree.insert("a", Node::directory(0o700).owned(1, 2))
        .unwrap();
    tree.insert("/", Node::directory(0o711)).unwrap();
    assert_eq!(paths(&tree), ["", "a", "a/x"]);
    assert_eq!(tree.get("a").unwrap().attributes.mode, 0o700);
    assert_eq!(tree.get("").unwrap().attributes.mode, 0o711);
}

#[test]
fn links_are_followed_within_the_tree() {
    let mut tree = tree(&["usr/bin/env", "etc/passwd"]);
    for (path, target) in [
        ("bin", "usr/bin"),
        ("sbin", "/bin"),
        ("usr/out", "../../../../etc/passwd"),
        ("usr/dots", ".././usr/./bin/.."),
    ] {
        tree.insert(path, Node::symlink(target)).unwrap();
    }
    let canonical = |path: &str| {
        let (_, path) = tree.follow(path).unwrap();
        String::from_utf8(path.into()).unwrap()
    };
    assert_eq!(canonical("sbin/env"), "usr/bin/env");
    assert_eq!(canonical("usr/out"), "etc/passwd");
    assert_eq!(canonical("usr/dots"), "usr");
    assert_eq!(canonical("/../bin/../../etc"), "etc");
    assert!(matches!(
        tree.node(tree.find("bin").unwrap().unwrap()).kind,
        Kind::Symlink(_)
    ));
    tree.insert("sbin/new", Node::file(0o755, "new")).unwrap();
    assert_eq!(text(&tree, "usr/bin/new"), "new");
}

#[test]
fn circles_end() {
    let mut tree = tree(&["x"]);
    tree.insert("a", Node::symlink("b")).unwrap();
    tree.insert("b", Node::symlink("/a")).unwrap();
    assert!(matches!(tree.follow("a"), Err(TreeError::Loop { .. })));
    let error = tree.insert("a/x", Node::file(0, "")).unwrap_err();
    assert!(matches!(error, TreeError::Loop { .. }), "{error}");
}

#[test]
fn what_is_in_the_way_is_named() {
    let mut tree = tree(&["a/file"]);
    tree.insert("link", Node::symlink("a/file")).unwrap();
    for path in ["a/file/x", "a/file/x/y", "link/x"] {
        let error = tree.insert(path, Node::file(0, "")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("`{path}`: `a/file` is not a directory")
        );
    }
    assert!(matches!(
        tree.follow("a/none"),
        Err(TreeError::Missing { .. })
    ));
    assert!(matches!(
        tree.insert("none/../x", Node::pipe(0)),
        Err(TreeError::Missing { .. })
    ));
    assert!(matches!(
        tree.insert("", Node::pipe(0)),
        Err(TreeError::Root)
    ));
    assert!(tree.insert("a/..", Node::pipe(0)).is_err());
    assert!(tree.insert("x".repeat(256), Node::pipe(0)).is_err());
    assert!(tree.insert("a\0b/x", Node::pipe(0)).is_err());
    assert_eq!(
        paths(&tree),
        ["", "a", "a/file", "link"],
        "nothing was changed"
    );
}

#[test]
fn names_of_one_file_are_one_node() {
    let mut tree = tree(&["a", "b/x"]);
    let first = tree.find("a").unwrap().unwrap();
    assert_eq!(tree.link("b/second", "a").unwrap(), first);
    assert_eq!(tree.links(first), 2);
    tree.attributes_mut("b/second").unwrap().mode = 0o600;
    assert_eq!(tree.get("a").unwrap().attributes.mode, 0o600);
    // A name that takes its own place.
    tree.link("a", "b/second").unwrap();
    tree.link("a", "a").unwrap();
    assert_eq!(tree.links(first), 2);
    assert!(tree.remove("a").unwrap());
    assert_eq!(
        (tree.links(first), text(&tree, "b/second")),
        (1, "a".to_owned())
    );
    assert!(tree.remove("b").unwrap());
    assert_eq!(tree.count(), 1);
    assert!(!tree.remove("b").unwrap());
    assert!(matches!(
        tree.link("x", "none"),
        Err(TreeError::Missing { .. })
    ));
    assert!(matches!(
        tree.link("x", ""),
        Err(TreeError::LinkToDirectory { .. })
    ));
}

#[test]
fn a_link_in_place_of_a_parent_of_its_target_keeps_the_target() {
    let mut tree = tree(&["a/b/file"]);
    tree.link("a", "a/b/file").unwrap();
    assert_eq!(
        (paths(&tree), text(&tree, "a")),
        (vec![String::new(), "a".to_owned()], "a/b/file".to_owned())
    );
}

#[test]
fn directories_count_their_directories() {
    let tree = tree(&["a/x", "a/b/x", "a/c/x"]);
    assert_eq!(tree.links(tree.find("a").unwrap().unwrap()), 4);
    assert_eq!(tree.links(NodeId::ROOT), 3);
}

#[test]
fn depth_is_no_danger() {
    let mut tree = Tree::new();
    let deep = "d/".repeat(50_000) + "file";
    tree.insert(&deep, Node::file(0o644, "deep")).unwrap();
    assert_eq!(tree.walk().count(), 50_002);
    assert_eq!(text(&tree, &deep), "deep");
    tree.layer().insert(b".wh.d", Node::file(0, "")).unwrap();
    assert_eq!(tree.count(), 1);
    assert!(tree.insert(&deep, Node::pipe(0)).is_ok() && tree.remove("d").unwrap());
}
