//! Mistakes in images.

use insta::assert_snapshot;

use crate::toml;

#[test]
fn sources() {
    assert_snapshot!(toml(
        "[images.bare.debian]\n[images.none]\n[images.two]\ntar = \"a.tar\"\ndebian = {}\n\
         [images.missing]\ntar = \"nowhere.tar\"\n[machines.a]\nimage = \"nine\"\n"
    ));
}

#[test]
fn debians() {
    assert_snapshot!(toml(
        "[images.d.debian]\nsuite = \"book worm\"\npackages = [\"nginx\", \"Nginx\", \"a,b\"]\n\
         mirror = \"mirror\"\ncomponents = [\"main contrib\"]\n[machines.a]\nimage = \"d\"\n"
    ));
}

#[test]
fn additions() {
    assert_snapshot!(toml(
        "[images.d]\ndebian = {}\npartition = 1\nrun = [\" \"]\nunits = { mask = [\"a/b\"] }\n\
         files = { \"etc/motd\" = \"x\" }\n[images.d.users]\n\"0day\" = {}\n\
         alice = { shell = \"bash\", password-hash = \"a:b\" }\n[machines.a]\nimage = \"d\"\n"
    ));
}

#[test]
fn what_machines_start_with() {
    assert_snapshot!(toml(
        "[images.d]\ndebian = {}\ninitrd = \"attest.toml\"\nready = \"run/ready\"\n\
         [images.e]\ndebian = {}\nkernel = \"image\"\ninitrd = \"nowhere\"\n\
         [machines.a]\nimage = \"d\"\n"
    ));
}
