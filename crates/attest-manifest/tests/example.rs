//! The example that people read first is right.

use std::path::Path;

use attest_manifest::{Manifest, TestKind};

#[test]
fn the_example_is_a_right_manifest() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web");
    let plan = Manifest::load(path)
        .and_then(|manifest| manifest.plan())
        .unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!((plan.machines.len(), plan.networks.len()), (3, 1));
    assert!(
        plan.tests
            .iter()
            .all(|test| matches!(&test.kind, TestKind::Steps(steps) if !steps.is_empty()))
    );
}
