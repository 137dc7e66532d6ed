//! Set-ups and isolation.

use std::time::Duration;

use attest_manifest::{Isolation, SetupKind};

use crate::plan;

const SETUPS: &str = r#"
isolation = "fork"
[machines.a]
[machines.b]
[setups.used]
after = "installed"
timeout = "9s"
steps = [{ on = "b", run = "true" }]
[setups.installed]
steps = [{ on = "a", run = "true" }]
[tests.plain]
steps = [{ on = "a", run = "true" }]
[tests.deep]
setup = "used"
steps = [{ on = "a", run = "true" }]
"#;

#[test]
fn setups_are_planned_in_order() {
    let plan = plan(SETUPS);
    assert_eq!(plan.isolation, Isolation::Fork);
    let [used, installed] = &plan.setups[..] else {
        panic!("two set-ups")
    };
    assert_eq!(used.timeout, Some(Duration::from_secs(9)));
    assert_eq!(
        (used.after.as_deref(), installed.timeout),
        (Some("installed"), None)
    );
    assert!(matches!(&used.kind, SetupKind::Steps(steps) if steps[0].machines == ["b"]));
    let setups: Vec<_> = plan
        .tests
        .iter()
        .map(|test| test.setup.as_deref())
        .collect();
    assert_eq!(setups, [None, Some("used")]);
}

#[test]
fn a_chain_begins_with_the_lab_as_it_booted() {
    let mut plan = plan(SETUPS);
    let chain = |plan: &attest_manifest::LabPlan, name: &str| -> Vec<String> {
        let chain = plan.setup_chain(name).into_iter();
        chain.map(|setup| setup.name.clone()).collect()
    };
    assert_eq!(chain(&plan, "used"), ["installed", "used"]);
    assert_eq!(chain(&plan, "installed"), ["installed"]);
    assert!(chain(&plan, "unknown").is_empty());
    // No manifest comes to this, but code can.
    plan.setups[1].after = Some("used".to_owned());
    assert_eq!(chain(&plan, "used"), ["installed", "used"]);
}

#[test]
fn forks_are_the_default_where_they_can_be() {
    assert_eq!(plan("[machines.a]").isolation, Isolation::Auto);
    assert!(!plan("[machines.a]").machines[0].independent);
}
