//! What manifests come to.

mod devices;
mod groups;
mod setups;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use attest_manifest::{
    ActionPlan, ExpectedStatus, FileContent, LabPlan, Machine, MachineNetwork, Manifest,
    ManifestFile, Network, Size, TestKind,
};
use proptest::prelude::*;

fn plan(text: &str) -> LabPlan {
    let manifest: Manifest = text.parse().unwrap_or_else(|error| panic!("{error}"));
    manifest
        .plan()
        .unwrap_or_else(|error| panic!("{}", error.render(false)))
}

const WEB: &str = r#"
[defaults]
memory = "128M"
environment = { A = "1", B = "1" }
kernel-arguments = ["quiet"]
[timeouts]
boot = "90s"
[networks.lan]
[networks.dmz]
subnet = "10.0.0.0/16"
mtu = 9000
[machines.server]
environment = { B = "2" }
kernel-arguments = ["loglevel=7"]
files = { "/etc/motd" = "hello" }
[machines.client]
networks = [{ network = "dmz", address = "10.0.9.9", mac = "02:00:00:00:00:09" }]
vcpus = 4
[tests.answers]
timeout = "30s"
steps = [
  { on = ["server", "client"], run = "false", fails = true },
  { on = "client", wait = { port = 80, host = "server" } },
  { parallel = [{ on = "client", reboot = true }] },
  { on = "server", unit = { restart = "nginx", timeout = "9s" } },
  { on = "server", unit = { stop = "app", user = "alice" } },
  { on = "server", wait = { unit = "nginx" } },
  { on = "server", wait = { unit = "app", user = "alice", stopped = true } },
]
[tests.unit]
rust = { package = "web", test = "lab", filter = "http" }
"#;

#[test]
fn defaults_are_filled_in() {
    let plan = plan(WEB);
    let [server, client] = &plan.machines[..] else {
        panic!("two machines")
    };
    assert_eq!(
        (server.memory, server.vcpus, client.vcpus),
        (128 << 20, 1, 4)
    );
    let environment: Vec<_> = server
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(environment, ["A=1", "B=2"]);
    assert_eq!(server.kernel_arguments, ["quiet", "loglevel=7"]);
    assert_eq!(
        server.files[0].content,
        FileContent::Text("hello".to_owned())
    );
    let address = |machine: usize, card: usize| {
        plan.machines[machine].cards[card]
            .addresses
            .iter()
            .map(|(address, prefix)| format!("{address}/{prefix}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(address(0, 0), ["192.168.1.1/24", "fd61:7474:6573:1::1/64"]);
    assert_eq!(address(0, 1), ["10.0.0.1/16", "fd61:7474:6573:2::1/64"]);
    assert_eq!(address(1, 0), ["10.0.9.9/16", "fd61:7474:6573:2::2/64"]);
    assert_eq!(
        (client.cards.len(), client.cards[0].mac),
        (1, [2, 0, 0, 0, 0, 9])
    );
    assert_eq!((plan.networks[0].mtu, plan.networks[1].mtu), (1500, 9000));
    assert_eq!(
        (plan.timeouts.boot, plan.timeouts.test),
        (Duration::from_secs(90), Duration::from_mins(5))
    );
}

#[test]
fn steps_are_resolved() {
    let plan = plan(WEB);
    let TestKind::Steps(steps) = &plan.tests[0].kind else {
        panic!("steps")
    };
    let ActionPlan::Command(command) = &steps[0].action else {
        panic!("a command")
    };
    assert_eq!(command.status, ExpectedStatus::Failure);
    let texts: Vec<_> = steps.iter().map(attest_manifest::StepPlan::text).collect();
    assert_eq!(
        texts,
        [
            "server, client: false",
            "client: wait for port server:80",
            "at once: client: reboot",
            "server: restart nginx",
            "server: stop app of alice",
            "server: wait for unit nginx",
            "server: wait until unit app of alice is stopped",
        ]
    );
    assert!(
        matches!(&plan.tests[1].kind, TestKind::Rust(rust) if rust.filter.as_deref() == Some("http"))
    );
}

#[test]
fn json_is_the_same() {
    let file = WEB.parse::<Manifest>().expect("right").file().clone();
    let json = serde_json::to_string_pretty(&file).expect("JSON");
    let manifest: Manifest = json.parse().expect("right");
    assert_eq!(manifest.file(), &file);
    assert_eq!(manifest.plan().expect("right"), plan(WEB));
}

#[test]
fn the_only_machine_need_not_be_named() {
    let plan = plan("[machines.a]\n[tests.t]\nsteps = [{ run = \"true\" }]\n");
    let TestKind::Steps(steps) = &plan.tests[0].kind else {
        panic!("steps")
    };
    assert_eq!(steps[0].machines, ["a"]);
}

#[test]
fn derived_subnets_avoid_given_ones() {
    let plan = plan("[networks.a]\n[networks.b]\nsubnet = \"192.168.1.0/24\"\n[machines.m]\n");
    assert_eq!(plan.networks[0].subnet4.to_string(), "192.168.2.0/24");
}

#[test]
fn many_machines_fit() {
    let mut text = String::from("[networks.lan]\n");
    for number in 0..1000 {
        writeln!(text, "[machines.m{number}]").expect("a string");
    }
    let plan = plan(&text);
    assert_eq!(
        plan.machines[999].cards[0].addresses[0].0.to_string(),
        "10.1.3.232"
    );
}

fn large(steps: usize, step: &str) -> String {
    let mut text = String::from("[machines.a]\n[tests.t]\nsteps = [\n");
    (0..steps).for_each(|_| text.push_str(step));
    text.push_str("]\n");
    text
}

#[test]
fn ten_megabytes_are_planned() {
    let filler = "x".repeat(70);
    let step = format!("  {{ on = \"a\", run = \"true # {filler}\" }},\n");
    let text = large(100_000, &step);
    assert!(text.len() > 10_000_000);
    let plan = plan(&text);
    let TestKind::Steps(steps) = &plan.tests[0].kind else {
        panic!("steps")
    };
    assert_eq!(steps.len(), 100_000);
}

/// Its errors: of whatever size the manifest is, few enough to read.
fn fails_clearly(text: &str) {
    assert!(text.len() > 2_000_000);
    let error = text
        .parse::<Manifest>()
        .and_then(|manifest| manifest.plan())
        .expect_err("wrong");
    assert!(error.diagnostics().len() <= 20);
    assert!(error.render(false).len() < 20_000);
}

// A quadratic cost anywhere would make these run for hours.
#[test]
fn many_wrong_names_fail_clearly() {
    fails_clearly(&large(100_000, "  { on = \"nobody\", run = \"true\" },\n"));
}

#[test]
fn many_wrong_setups_fail_clearly() {
    let mut text = String::from("machines = { a = {} }\n");
    for number in 0..60_000 {
        writeln!(
            text,
            "[setups.s{number}]\nafter = \"t{number}\"\nsteps = []"
        )
        .expect("a string");
    }
    fails_clearly(&text);
    let cycle = text.replace("\"t", "\"s");
    fails_clearly(&cycle);
}

#[test]
fn many_unknown_keys_fail_clearly() {
    fails_clearly(&large(100_000, "  { on = \"a\", rum = \"true\" },\n"));
}

#[test]
fn much_that_is_no_toml_fails_clearly() {
    fails_clearly(&large(200_000, "  ]]] = = \n"));
}

#[test]
fn many_equal_keys_fail_clearly() {
    let table = "[machines.a]\nvcpus = 1\nvcpus = 2\n";
    fails_clearly(&table.repeat(70_000));
    let pairs = "\"a\": {},".repeat(250_000);
    fails_clearly(&format!("{{\"machines\": {{{pairs}\"b\": {{}}}}}}"));
}

#[test]
fn deep_nesting_fails_clearly() {
    let nested = "[".repeat(3_000_000);
    fails_clearly(&format!("{{\"machines\": {nested}"));
    fails_clearly(&format!("machines = {nested}"));
    fails_clearly(&format!(
        "{{\"machines\": {nested}{}}}",
        "]".repeat(nested.len())
    ));
}

#[test]
fn one_long_line_is_cut() {
    let filler = "x".repeat(1_000_000);
    let text = format!(
        "{{\"name\": \"{filler}\", \"machines\": {{\"a\": {{\"memry\": 1}}}}, \"tests\": {{\"{filler}\": {{\"steps\": []}}}}}}"
    );
    let error = text.parse::<Manifest>().expect_err("wrong");
    let shown = error.render(false);
    assert!(
        shown.contains("memry") && shown.contains("manifest:1:1000033") && shown.len() < 4000,
        "{shown}"
    );
}

/// A lab whose names, networks and cards are arbitrary, but right.
fn lab() -> impl Strategy<Value = ManifestFile> {
    let networks = prop::collection::btree_set("[a-z][a-z0-9]{0,8}", 0..6);
    let machines = prop::collection::btree_map(
        "[a-z][a-z0-9]{0,8}",
        (prop::option::of(any::<u8>()), 64..4096_u64),
        1..20,
    );
    (networks, machines, any::<u8>()).prop_map(|(networks, machines, given)| {
        let mut file = ManifestFile::default();
        for (index, name) in (0_u8..).zip(&networks) {
            let subnet = (given >> index & 1 == 1).then(|| format!("10.{index}.0.0/16"));
            file.networks.insert(
                name.clone(),
                Network {
                    subnet,
                    ..Network::default()
                },
            );
        }
        for (name, (chosen, mib)) in machines.into_iter().filter(|(name, _)| name != "localhost") {
            let chosen = chosen.map(|bits| {
                let on = (0_u8..)
                    .zip(&networks)
                    .filter(|(index, _)| bits >> index & 1 == 1);
                on.map(|(_, network)| MachineNetwork::Name(network.clone()))
                    .collect()
            });
            let memory = Some(Size::from_mib(mib));
            file.machines.insert(
                name,
                Machine {
                    memory,
                    networks: chosen,
                    ..Machine::default()
                },
            );
        }
        file
    })
}

proptest! {
    #[test]
    fn cards_never_collide(file in lab()) {
        prop_assume!(!file.machines.is_empty());
        let plan = file.plan().expect("right");
        let mut macs = HashSet::new();
        let mut addresses = HashSet::new();
        for card in plan.machines.iter().flat_map(|machine| &machine.cards) {
            prop_assert!(macs.insert(card.mac));
            prop_assert_eq!(card.mac[0], 2, "locally administered, unicast");
            for (address, _) in &card.addresses {
                prop_assert!(addresses.insert(*address));
            }
        }
        for (index, one) in plan.networks.iter().enumerate() {
            for other in &plan.networks[..index] {
                prop_assert!(!one.subnet4.overlaps(&other.subnet4) && !one.subnet6.overlaps(&other.subnet6));
            }
        }
    }

    #[test]
    fn plans_are_the_same_from_code_and_text_every_time(file in lab()) {
        prop_assume!(!file.machines.is_empty());
        let plan = file.plan().expect("right");
        prop_assert_eq!(&plan, &file.plan().expect("right"));
        let json: Manifest = serde_json::to_string(&file).expect("JSON").parse().expect("right");
        prop_assert_eq!(json.file(), &file);
        prop_assert_eq!(&plan, &json.plan().expect("right"));
    }

    #[test]
    fn a_machine_more_moves_no_other(file in lab()) {
        prop_assume!(!file.machines.is_empty());
        let before = file.plan().expect("right");
        let mut more = file;
        more.machines.insert("zz-last".to_owned(), Machine::default());
        let after = more.plan().expect("right");
        prop_assert_eq!(&before.machines[..], &after.machines[..before.machines.len()]);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        if let Err(error) = text.parse::<Manifest>().and_then(|manifest| manifest.plan()) {
            prop_assert!(!error.render(false).is_empty());
        }
    }

    #[test]
    fn broken_manifests_never_panic(start in 0..WEB.len(), length in 0..40_usize, put in "[\\[\\]{}=\",.\\n\\r\\t a0é]{0,4}", json in any::<bool>()) {
        let mut text = if json {
            serde_json::to_string(WEB.parse::<Manifest>().expect("right").file()).expect("JSON")
        } else {
            WEB.to_owned()
        };
        let start = start.min(text.len());
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &put);
        if let Err(error) = text.parse::<Manifest>().and_then(|manifest| manifest.plan()) {
            let mut shown = String::new();
            write!(shown, "{}", error.render(true)).expect("a string");
            for diagnostic in error.diagnostics() {
                let span = diagnostic.span.clone().expect("a place");
                prop_assert!(text.get(span.start.min(text.len())..span.end.min(text.len())).is_some());
            }
        }
    }
}
