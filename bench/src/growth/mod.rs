//! What it costs as work grows: more machines in one lab, and more tests in one run.
//!
//! Each run is an `attest run` of its own, whose processes are watched from outside; sizes take turns,
//! so that what disturbs one round disturbs all of it.

mod curve;
mod fit;
mod limit;
mod machines;
mod many_tests;
mod watched;

use std::path::Path;

use attest::Backend;

use crate::figure::Report;
use crate::{Result, debian};

pub(crate) use fit::PowerLaw;
use limit::Room;
use machines::Machines;
use many_tests::Tests;

const ROUNDS: u32 = 5;
/// Of runs that take a minute.
const FEW: u32 = 3;

const CONTAINERS: Machines = Machines {
    subject: "containers",
    backend: Backend::Nspawn,
    sizes: &[1, 2, 4, 8, 16, 32],
    rounds: ROUNDS,
};
const GUESTS: Machines = Machines {
    subject: "guests",
    backend: Backend::Qemu,
    sizes: &[1, 2, 4, 8],
    rounds: ROUNDS,
};
const TESTS: [u32; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// All of it, and with `is_full` virtual machines, too; pictures into this directory.
pub(crate) fn run(report: &Report, is_full: bool, results: Option<&Path>) -> Result<()> {
    match debian::image_for_containers(&debian::cache()?)? {
        Ok(image) => {
            let most = CONTAINERS.sizes.iter().max();
            let room = Room::make(*most.ok_or("no sizes")?)?;
            CONTAINERS.measure(report, Some(&image.path), results)?;
            let shared = Tests {
                subject: "tests-shared",
                on_forks: false,
                sizes: &TESTS,
                rounds: ROUNDS,
            };
            shared.measure(report, results)?;
            drop(room);
        }
        Err(reason) => report.skipped("growth/containers", &reason),
    }
    let forks = Tests {
        subject: "tests-on-forks",
        on_forks: true,
        sizes: &TESTS,
        rounds: if is_full { ROUNDS } else { FEW },
    };
    forks.measure(report, results)?;
    if is_full {
        GUESTS.measure(report, None, results)?;
    }
    Ok(())
}
