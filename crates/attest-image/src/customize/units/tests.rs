use super::*;

const SYSTEM: &str = "usr/lib/systemd/system";

fn tree(units: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (name, text) in units {
        tree.insert(format!("{SYSTEM}/{name}"), Node::file(0o644, *text))
            .unwrap();
    }
    tree
}

fn listed(tree: &Tree) -> Vec<String> {
    let links = links(tree).into_iter();
    let mut links: Vec<String> = links.map(|link| link.path).collect();
    links.sort();
    links
}

fn target(tree: &Tree, path: &str) -> String {
    let id = tree
        .find(format!("{CONFIGURATION}/{path}"))
        .unwrap()
        .unwrap();
    match &tree.node(id).kind {
        Kind::Symlink(target) => String::from_utf8(target.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn enabled(tree: &mut Tree, units: &[&str]) -> Result<Vec<String>, CustomizeError> {
    let enable = units.iter().map(ToString::to_string).collect();
    apply(
        tree,
        &Units {
            enable,
            ..Units::default()
        },
    )
}

fn disabled(tree: &mut Tree, unit: &str) -> Result<Vec<String>, CustomizeError> {
    let disable = vec![unit.to_owned()];
    apply(
        tree,
        &Units {
            disable,
            ..Units::default()
        },
    )
}

fn masked(tree: &mut Tree, unit: &str) -> Result<Vec<String>, CustomizeError> {
    let mask = vec![unit.to_owned()];
    apply(
        tree,
        &Units {
            mask,
            ..Units::default()
        },
    )
}

const WEB: &str = "[Unit]\nWantedBy=no.target\n[Install]\nWantedBy=multi-user.target \\\n  other.target\n\
    # RequiredBy=no.target\nRequiredBy = all.target\nUpheldBy=up.target\nAlias=www.service\nAlso=web.socket gone.socket\n";

#[test]
fn a_unit_is_enabled_and_disabled_as_systemctl_does() {
    let mut tree = tree(&[
        ("web.service", WEB),
        ("web.socket", "[Install]\nWantedBy=sockets.target\n"),
    ]);
    assert_eq!(
        enabled(&mut tree, &["web"]).unwrap(),
        ["web.service", "web.socket"]
    );
    assert_eq!(
        listed(&tree),
        [
            "all.target.requires/web.service",
            "multi-user.target.wants/web.service",
            "other.target.wants/web.service",
            "sockets.target.wants/web.socket",
            "up.target.upholds/web.service",
            "www.service",
        ]
    );
    assert_eq!(
        target(&tree, "www.service"),
        format!("/{SYSTEM}/web.service")
    );
    // By its alias too.
    disabled(&mut tree, "www").unwrap();
    assert_eq!(listed(&tree), [""; 0]);
    disabled(&mut tree, "web").unwrap();
}

#[test]
fn instances_of_templates_are_enabled() {
    let text = "[Install]\nWantedBy=multi-user.target x-%i.target\nDefaultInstance=main\n";
    let mut tree = tree(&[
        ("db@.service", text),
        ("tun@.service", "[Install]\nWantedBy=multi-user.target\n"),
    ]);
    enabled(&mut tree, &["db@", "db@a.b", "tun@one"]).unwrap();
    assert_eq!(
        listed(&tree),
        [
            "multi-user.target.wants/db@a.b.service",
            "multi-user.target.wants/db@main.service",
            "multi-user.target.wants/tun@one.service",
            "x-a.b.target.wants/db@a.b.service",
            "x-main.target.wants/db@main.service",
        ]
    );
    let path = "multi-user.target.wants/db@a.b.service";
    assert_eq!(target(&tree, path), format!("/{SYSTEM}/db@.service"));
    let error = enabled(&mut tree, &["tun@"]).unwrap_err().to_string();
    assert!(error.contains("`tun@NAME.service`"), "{error}");
    disabled(&mut tree, "db@main").unwrap();
    assert!(listed(&tree).contains(&path.to_owned()));
    disabled(&mut tree, "db@").unwrap();
    assert_eq!(listed(&tree), ["multi-user.target.wants/tun@one.service"]);
}

#[test]
fn drop_ins_and_own_units_count() {
    let mut tree = tree(&[
        ("web.service", "[Install]\nWantedBy=old.target\n"),
        (
            "web.service.d/a.conf",
            "[Install]\nWantedBy=\nWantedBy=new.target\n",
        ),
        ("own.service", "[Install]\nWantedBy=system.target\n"),
    ]);
    let own = Node::file(0o644, "[Install]\nWantedBy=own.target\n");
    tree.insert(format!("{CONFIGURATION}/own.service"), own)
        .unwrap();
    enabled(&mut tree, &["web", "own"]).unwrap();
    assert_eq!(
        listed(&tree),
        [
            "new.target.wants/web.service",
            "own.target.wants/own.service"
        ]
    );
}

#[test]
fn a_vendors_alias_leads_to_the_unit() {
    let mut tree = tree(&[("ssh.service", "[Install]\nWantedBy=multi-user.target\n")]);
    tree.insert(
        format!("{SYSTEM}/sshd.service"),
        Node::symlink("ssh.service"),
    )
    .unwrap();
    assert_eq!(enabled(&mut tree, &["sshd"]).unwrap(), ["ssh.service"]);
    assert_eq!(listed(&tree), ["multi-user.target.wants/ssh.service"]);
}

#[test]
fn what_is_masked_does_not_start_until_it_is_enabled() {
    let mut tree = tree(&[("web.service", "[Install]\nWantedBy=multi-user.target\n")]);
    masked(&mut tree, "web").unwrap();
    assert_eq!(target(&tree, "web.service"), NOTHING);
    masked(&mut tree, "web").unwrap();
    enabled(&mut tree, &["web"]).unwrap();
    assert_eq!(listed(&tree), ["multi-user.target.wants/web.service"]);
    masked(&mut tree, "dev-hda.device").unwrap();
}

#[test]
fn units_that_are_not_there_are_named_with_their_likes() {
    let known = [
        ("nginx.service", "[Install]\nWantedBy=multi-user.target\n"),
        ("static.service", "[Service]\n"),
    ];
    for change in [disabled, masked, |tree: &mut Tree, unit: &str| {
        enabled(tree, &[unit])
    }] {
        let error = change(&mut tree(&known), "ngnix").unwrap_err().to_string();
        assert!(
            error.contains("no unit `ngnix.service`; it has `nginx.service`"),
            "{error}"
        );
    }
    let error = enabled(&mut tree(&known), &["static"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("no [Install] section"), "{error}");
    let units = Units {
        enable: vec!["nginx".to_owned()],
        mask: vec!["nginx.service".to_owned()],
        ..Units::default()
    };
    let error = apply(&mut tree(&known), &units).unwrap_err().to_string();
    assert!(error.contains("both enabled and masked"), "{error}");
}

#[test]
fn links_in_circles_end() {
    let mut tree = tree(&[]);
    tree.insert(format!("{SYSTEM}/a.service"), Node::symlink("b.service"))
        .unwrap();
    tree.insert(format!("{SYSTEM}/b.service"), Node::symlink("a.service"))
        .unwrap();
    assert!(enabled(&mut tree, &["a"]).is_err());
}
