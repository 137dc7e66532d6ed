//! Machines that talk to each other, and labs made smaller.

use std::collections::BTreeSet;

use attest_manifest::{Backend, LabPlan, Machine, MachineUse, Manifest, ManifestFile};
use proptest::prelude::*;

use crate::{lab, plan};

/// Two pairs, one that is independent, one on no network, one that joins nothing by itself.
const PARTS: &str = r#"
[networks.lan]
[networks.dmz]
[networks.far]
[machines.a]
networks = ["lan"]
[machines.x]
networks = ["far"]
[machines.router]
networks = ["lan", "dmz"]
[machines.b]
networks = ["dmz"]
[machines.y]
networks = ["far"]
[machines.alone]
networks = ["lan", "far"]
independent = true
[machines.apart]
networks = []
[setups.base]
steps = [{ on = "apart", run = "true" }]
[setups.more]
after = "base"
steps = [{ parallel = [{ on = "x", run = "true" }] }]
[setups.script]
script = "/dev/null"
[tests.one]
steps = [{ on = "b", run = "true" }]
[tests.chained]
setup = "more"
steps = [{ on = "y", run = "true" }]
[tests.scripted]
setup = "script"
steps = [{ on = "y", run = "true" }]
[tests.none]
steps = []
[tests.code]
rust = { package = "p", test = "t" }
"#;

fn names<T>(list: &[T], name: impl Fn(&T) -> &String) -> Vec<&str> {
    list.iter().map(|each| name(each).as_str()).collect()
}

fn machines(plan: &LabPlan) -> Vec<&str> {
    names(&plan.machines, |machine| &machine.name)
}

#[test]
fn groups_follow_the_networks() {
    let groups = plan(PARTS).groups();
    let shown: Vec<String> = groups
        .iter()
        .map(|group| {
            format!(
                "{} on {}",
                group.machines.join(" "),
                group.networks.join(" ")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "a router b on lan dmz",
            "x y on far",
            "alone on lan far",
            "apart on ",
        ]
    );
}

#[test]
fn hosts_with_networks_of_their_own_may_meet_there() {
    let mut plan = plan("[machines.a]\n[machines.b]\n[machines.c]\n[machines.d]\n");
    for machine in &mut plan.machines[1..] {
        machine.backend = Backend::Ssh;
    }
    plan.machines[3].independent = true;
    let groups = plan.groups();
    let groups: Vec<_> = groups
        .iter()
        .map(|group| group.machines.join(" "))
        .collect();
    assert_eq!(groups, ["a", "b c", "d"]);
}

#[test]
fn tests_use_what_their_steps_and_setups_name() {
    let plan = plan(PARTS);
    let uses: Vec<_> = plan
        .tests
        .iter()
        .map(|test| plan.machines_of(test))
        .collect();
    let named =
        |names: &[&str]| MachineUse::Named(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(
        uses,
        [
            named(&["b"]),
            named(&["x", "y", "apart"]),
            MachineUse::All,
            MachineUse::All,
            MachineUse::All,
        ]
    );
}

#[test]
fn a_test_has_the_groups_that_it_touches() {
    let plan = plan(PARTS);
    let one = plan.for_test(&plan.tests[0]);
    assert_eq!(machines(&one), ["a", "router", "b"]);
    assert_eq!(
        names(&one.networks, |network| &network.name),
        ["lan", "dmz"]
    );
    assert_eq!(names(&one.tests, |test| &test.name), ["one"]);
    assert!(one.setups.is_empty());
    let chained = plan.for_test(&plan.tests[1]);
    assert_eq!(machines(&chained), ["x", "y", "apart"]);
    assert_eq!(
        names(&chained.setups, |setup| &setup.name),
        ["base", "more"]
    );
    assert_eq!(names(&chained.tests, |test| &test.name), ["chained"]);
    for test in &plan.tests[2..] {
        assert_eq!(plan.for_test(test), plan);
    }
}

#[test]
fn a_chain_stays_whole_or_goes() {
    let plan = plan(PARTS);
    let only = plan.only(&["x", "y"]);
    assert!(only.setups.is_empty() && only.tests.is_empty());
    assert_eq!(
        names(&plan.only(&["apart"]).setups, |setup| &setup.name),
        ["base"]
    );
}

#[test]
fn tests_that_share_a_lab_have_all_of_it() {
    let plan = plan(&format!("isolation = \"shared\"\n{PARTS}"));
    assert_eq!(plan.for_test(&plan.tests[0]), plan);
}

/// The same, with some machines independent and a test on each.
fn parted() -> impl Strategy<Value = LabPlan> {
    (lab(), any::<u32>()).prop_filter_map("no machine", |(mut file, bits)| {
        for (index, machine) in (0_u32..).zip(file.machines.values_mut()) {
            machine.independent = bits >> (index % 32) & 1 == 1;
        }
        let tests = file.machines.keys().map(|name| {
            let step =
                format!("[machines.{name}]\n[tests.on-{name}]\nsteps = [{{ run = \"true\" }}]");
            let one: Manifest = step.parse().expect("right");
            let (test, steps) = one.file().tests.first().expect("a test");
            let mut steps = steps.clone();
            for step in steps.steps.iter_mut().flatten() {
                step.on = Some(attest_manifest::OneOrMany::One(name.clone()));
            }
            (test.clone(), steps)
        });
        file.tests = tests.collect();
        (!file.machines.is_empty()).then(|| file.plan().expect("right"))
    })
}

/// Machines that a path of shared networks leads to, found in the plainest way.
fn reached(plan: &LabPlan, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::from([from.to_owned()]);
    let meet = |one: &attest_manifest::MachinePlan, other: &attest_manifest::MachinePlan| {
        let on = |name: &String| other.cards.iter().any(|card| card.network == *name);
        !one.independent && !other.independent && one.cards.iter().any(|card| on(&card.network))
    };
    loop {
        let inside = plan
            .machines
            .iter()
            .filter(|machine| reached.contains(&machine.name));
        let next = inside.flat_map(|one| plan.machines.iter().filter(|other| meet(one, other)));
        let more: BTreeSet<String> = next.map(|machine| machine.name.clone()).collect();
        if more.is_subset(&reached) {
            return reached;
        }
        reached.extend(more);
    }
}

proptest! {
    #[test]
    fn groups_partition_the_machines(plan in parted()) {
        let groups = plan.groups();
        let mut all: Vec<&str> = Vec::new();
        for group in &groups {
            let inside: BTreeSet<String> = group.machines.iter().cloned().collect();
            prop_assert_eq!(inside, reached(&plan, &group.machines[0]));
            all.extend(group.machines.iter().map(String::as_str));
        }
        let firsts: Vec<&str> = groups.iter().map(|group| group.machines[0].as_str()).collect();
        let in_order: Vec<&str> = machines(&plan).into_iter().filter(|name| firsts.contains(name)).collect();
        prop_assert_eq!(firsts, in_order);
        all.sort_unstable();
        let mut expected = machines(&plan);
        expected.sort_unstable();
        prop_assert_eq!(all, expected);
    }

    #[test]
    fn fewer_machines_are_the_same_machines(plan in parted(), bits in any::<u32>()) {
        let kept: Vec<&str> = (0_u32..)
            .zip(machines(&plan))
            .filter_map(|(index, name)| (bits >> (index % 32) & 1 == 1).then_some(name))
            .collect();
        let only = plan.only(&kept);
        prop_assert_eq!(machines(&only), kept);
        for machine in &only.machines {
            prop_assert!(plan.machines.contains(machine), "number, MACs and addresses are kept");
            for card in &machine.cards {
                prop_assert!(only.networks.iter().any(|network| network.name == card.network));
            }
        }
        for network in &only.networks {
            prop_assert!(plan.networks.contains(network));
        }
        prop_assert_eq!(only.tests.len(), only.machines.len());
        prop_assert_eq!(plan.only(&machines(&plan)), plan);
    }

    #[test]
    fn a_test_keeps_its_groups_and_no_more(plan in parted()) {
        for test in &plan.tests {
            let lab = plan.for_test(test);
            let expected = reached(&plan, test.name.trim_start_matches("on-"));
            let kept: BTreeSet<String> = lab.machines.iter().map(|machine| machine.name.clone()).collect();
            prop_assert_eq!(kept, expected);
            prop_assert!(lab.tests.contains(test));
        }
    }
}

#[test]
fn a_machine_in_code_is_like_one_of_a_manifest() {
    let mut file = ManifestFile::default();
    file.machines.insert(
        "a".to_owned(),
        Machine {
            independent: true,
            ..Machine::default()
        },
    );
    assert_eq!(
        file.plan().expect("right").machines,
        plan("[machines.a]\nindependent = true\n").machines
    );
}
