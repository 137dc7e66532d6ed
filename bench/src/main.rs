//! Measures the budgets of attest: each figure beside its budget and what it was compared with.
//!
//! Run through `cargo xtask bench [NAME…] [--json]`, which builds for release first. Everything
//! that is compared is measured side by side in one run, for the hosts are noisy.

mod boot;
mod by_hand;
mod copy;
mod debian;
mod dropin;
mod erofs;
mod exec;
mod fake_vm;
mod figure;
mod fork;
mod growth;
mod host;
mod images;
mod incoming;
mod labs;
mod microvm;
mod multi_user;
mod nix_tests;
mod nspawn;
mod parallel;
mod plot;
mod programs;
mod python;
mod runs;
mod snapshot;
mod start;
mod suites;
mod systemd;
mod wait;

use clap::Parser;

use figure::Report;

/// Measure the budgets of attest.
#[derive(Debug, Parser)]
#[command(name = "attest-bench")]
struct Arguments {
    /// Which benchmarks: start boot exec copy wait images systemd nspawn multi-user
    /// python dropin snapshot fork parallel firecracker cloud-hypervisor nix growth suites
    /// [default: all]
    names: Vec<String>,
    /// One JSON object a line for each figure
    #[arg(long)]
    json: bool,
    /// As often as the budgets say, where less is usual for it takes minutes
    #[arg(long)]
    full: bool,
    /// Write what growth and suites find out into this directory: plots, tables, JSON
    #[arg(long, value_name = "DIR")]
    results: Option<std::path::PathBuf>,
    /// How often suites are run in each way
    #[arg(long, value_name = "N", default_value_t = suites::ROUNDS)]
    rounds: usize,
    /// Only suites and ways to run them whose names have this in them: "module-smoke", "qemu, python"
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const NAMES: [&str; 19] = [
    "start",
    "boot",
    "exec",
    "copy",
    "wait",
    "images",
    "systemd",
    "nspawn",
    "multi-user",
    "python",
    "dropin",
    "snapshot",
    "fork",
    "parallel",
    "firecracker",
    "cloud-hypervisor",
    "nix",
    "growth",
    "suites",
];

fn main() -> Result<()> {
    let own = std::path::PathBuf::from(std::env::args_os().next().unwrap_or_default());
    if own.file_name().is_some_and(|name| name == start::QEMU) {
        return start::play_qemu(&own);
    }
    if own.file_name().is_some_and(|name| name == fake_vm::NAME) {
        return fake_vm::play();
    }
    measure()
}

#[tokio::main(worker_threads = 2)]
async fn measure() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(unknown) = arguments
        .names
        .iter()
        .find(|name| !NAMES.contains(&name.as_str()))
    {
        return Err(format!("no benchmark `{unknown}`; there are: {}", NAMES.join(" ")).into());
    }
    let report = Report::new(arguments.json);
    for name in NAMES {
        if !arguments.names.is_empty() && !arguments.names.iter().any(|wanted| wanted == name) {
            continue;
        }
        match name {
            "start" => start::run(&report).await?,
            "boot" => boot::run(&report).await?,
            "exec" => exec::run(&report).await?,
            "copy" => copy::run(&report).await?,
            "wait" => wait::run(&report).await?,
            "images" => images::run(&report).await?,
            "systemd" => systemd::run(&report).await?,
            "nspawn" => nspawn::run(&report).await?,
            "multi-user" => multi_user::run(&report).await?,
            "python" => python::run(&report).await?,
            "dropin" => dropin::run(&report).await?,
            "snapshot" => snapshot::run(&report).await?,
            "fork" => fork::run(&report, arguments.full).await?,
            "firecracker" => microvm::firecracker(&report).await?,
            "cloud-hypervisor" => microvm::cloud_hypervisor(&report).await?,
            "nix" => nix_tests::run(&report)?,
            "growth" => growth::run(&report, arguments.full, arguments.results.as_deref())?,
            "suites" => suites::run(&suites::Wanted {
                rounds: arguments.rounds,
                is_full: arguments.full,
                json: arguments.json,
                results: arguments.results.as_deref(),
                only: arguments.only.as_deref(),
            })?,
            _ => parallel::run(&report, arguments.full)?,
        }
    }
    Ok(())
}
