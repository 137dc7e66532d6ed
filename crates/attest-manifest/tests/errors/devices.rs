//! Mistakes in rates, balloons and jails.

use insta::assert_snapshot;

use crate::toml;

#[test]
fn rates() {
    assert_snapshot!(toml(
        "[networks.lan]\n[machines.a]\n\
         networks = [{ network = \"lan\", rate = {} }]\n\
         disks = [{ size = \"1G\", rate = { bandwidth = \"0M\", operations = 0 } }]\n"
    ));
}

#[test]
fn types() {
    assert_snapshot!(toml(
        "[defaults]\njailer = \"always\"\n[machines.a]\nbackend = \"firecraker\"\nballoon = \"1G\"\n\
         disks = [{ size = \"1G\", rate = \"10M\" }, { size = \"1G\", rate = { bandwith = \"10M\", operations = -1 } }]\n"
    ));
}
