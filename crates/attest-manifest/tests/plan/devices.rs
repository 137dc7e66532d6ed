//! Backends, rates, balloons and jails.

use attest_manifest::{Backend, Jailer, RatePlan};

use crate::plan;

#[test]
fn rates_are_in_bytes_and_operations() {
    let plan = plan(
        "[networks.lan]\n[networks.dmz]\n[machines.a]\n\
         networks = [\"lan\", { network = \"dmz\", rate = { bandwidth = \"10M\", operations = 1000 } }]\n\
         disks = [{ size = \"1G\", rate = { bandwidth = \"1K\" } }, { size = \"1G\", rate = { operations = 5 } }]\n",
    );
    let rate = |bytes_per_second, operations_per_second| {
        Some(RatePlan {
            bytes_per_second,
            operations_per_second,
        })
    };
    let machine = &plan.machines[0];
    let cards: Vec<_> = machine.cards.iter().map(|card| card.rate).collect();
    assert_eq!(cards, [None, rate(Some(10 << 20), Some(1000))]);
    let disks: Vec<_> = machine.disks.iter().map(|disk| disk.rate).collect();
    assert_eq!(disks, [rate(Some(1024), None), rate(None, Some(5))]);
}

#[test]
fn machines_say_otherwise_than_defaults() {
    let plan = plan(
        "[defaults]\nbackend = \"firecracker\"\njailer = \"require\"\nballoon = true\n[machines.a]\n\
         [machines.b]\nbackend = \"cloud-hypervisor\"\njailer = \"never\"\nballoon = false\n",
    );
    let of = |index: usize| {
        let machine = &plan.machines[index];
        (machine.backend, machine.jailer, machine.balloon)
    };
    assert_eq!(of(0), (Backend::Firecracker, Jailer::Require, true));
    assert_eq!(of(1), (Backend::CloudHypervisor, Jailer::Never, false));
    let silent = &crate::plan("[machines.a]\n").machines[0];
    assert_eq!((silent.jailer, silent.balloon), (Jailer::Auto, false));
}

#[test]
fn backends_that_build_virtual_machines_are_told_apart() {
    let names = Backend::ALL
        .into_iter()
        .filter(|backend| backend.is_virtual());
    let names: Vec<_> = names.map(Backend::name).collect();
    assert_eq!(names, ["qemu", "firecracker", "cloud-hypervisor"]);
}
