//! Three suites by every driver that there is, side by side: attest on all that it has, the NixOS test driver, other
//! drivers, and what nobody can be faster than.

mod attest;
mod floor;
mod header;
mod nixos;
mod peers;
mod results;
mod suite;
mod table;
mod times;
mod variant;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::attest::Backend;

use self::attest::{Attest, How};
use self::floor::Floor;
use self::header::Header;
use self::nixos::StartScripts;
use self::results::{Failures, Nixos, Results, Row, Runs, Skipped};
use self::suite::{Image, Suite};
use self::times::Counted;
use self::variant::Variant;
use crate::{Result, programs};

/// How often each is run, unless asked otherwise.
pub(crate) const ROUNDS: usize = 5;
/// Of what takes minutes, unless all is asked for.
const FEW: usize = 1;
/// What cli-integration has to have.
const LEAST: Counted = Counted {
    commands: 120,
    waits: 40,
    copies: 2,
};

/// What is asked for.
pub(crate) struct Wanted<'a> {
    /// How often each way is run.
    pub(crate) rounds: usize,
    /// As often what takes minutes: an empty cache, and other drivers.
    pub(crate) is_full: bool,
    pub(crate) json: bool,
    /// Where results are written.
    pub(crate) results: Option<&'a Path>,
    /// Only suites and ways whose names have this in them.
    pub(crate) only: Option<&'a str>,
}

impl Wanted<'_> {
    /// How a suite is to be run.
    fn variants(&self, suite: &str) -> Vec<Variant> {
        let is_wanted = |variant: &Variant| {
            let name = format!("{suite}, {variant}");
            self.only.is_none_or(|only| name.contains(only))
        };
        let all = Variant::all(&peers::NAMES).into_iter();
        all.filter(is_wanted).collect()
    }
}

pub(crate) fn run(wanted: &Wanted<'_>) -> Result<()> {
    let cache = crate::debian::cache()?;
    let attest = programs::attest()?;
    let nixos = programs::nixos_test_driver(&attest);
    let mut suites = Vec::new();
    for name in suite::NAMES {
        let variants = wanted.variants(name);
        if !variants.is_empty() {
            let suite = Suite::load(name, &cache, variants.iter().any(Variant::boots_stock))?;
            suites.push((suite, variants));
        }
    }
    let Some((first, _)) = suites.first() else {
        return Err("no suite, and no way to run one, has that in its name".into());
    };
    let mut results = Results {
        header: Header::of_this_host(&first.kernel.release, wanted.rounds)?,
        rows: Vec::new(),
        skipped: Vec::new(),
        broken: Vec::new(),
    };
    if let Some(nixos) = &nixos {
        let generation = header::generation(nixos);
        results.header.add("NixOS test driver", &generation);
    }
    for (suite, variants) in &suites {
        let drivers = Drivers::prepare(suite, attest.clone(), nixos.clone(), &mut results.header)?;
        drivers.measure(variants, wanted, &mut results)?;
        // Each suite takes long, and may be the last that works.
        write(wanted, &results)?;
    }
    show(wanted, &results)?;
    match results.broken.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} did not end well: {first}", results.broken.len()).into()),
    }
}

/// Another driver; or why it cannot run a suite here.
type Peer<'a> = std::result::Result<Box<dyn peers::Peer + 'a>, String>;

/// Everything that can run one suite.
struct Drivers<'a> {
    suite: &'a Suite,
    program: PathBuf,
    nixos: Option<PathBuf>,
    attest: Attest<'a>,
    lean: StartScripts,
    /// Where anybody wants it.
    stock: Option<StartScripts>,
    floors: Vec<(Backend, Floor<'a>)>,
    peers: Vec<(&'static str, Peer<'a>)>,
}

impl<'a> Drivers<'a> {
    fn prepare(
        suite: &'a Suite,
        program: PathBuf,
        nixos: Option<PathBuf>,
        header: &mut Header,
    ) -> Result<Self> {
        let mut floors = Vec::new();
        for backend in [Backend::Qemu, Backend::Nspawn] {
            if let Some(floor) = Floor::prepare(suite, backend)? {
                floors.push((backend, floor));
            }
        }
        let mut peers = Vec::new();
        for name in peers::NAMES {
            let peer = peers::prepare(name, suite)?;
            if let Ok(peer) = &peer {
                header.add(name, peer.version());
            }
            peers.push((name, peer));
        }
        Ok(Self {
            suite,
            program,
            nixos,
            attest: Attest::new(suite)?,
            lean: StartScripts::write(suite, &suite.fixture)?,
            stock: suite
                .stock
                .as_ref()
                .map(|stock| StartScripts::write(suite, stock))
                .transpose()?,
            floors,
            peers,
        })
    }

    /// All ways in turns, round by round.
    fn measure(
        &self,
        variants: &[Variant],
        wanted: &Wanted<'_>,
        results: &mut Results,
    ) -> Result<()> {
        let suite = self.suite.name;
        let mut all: Vec<Runs> = Vec::new();
        for variant in variants {
            match self.ready(variant)? {
                Ok(notes) => all.push(Runs {
                    variant: variant.clone(),
                    rounds: BTreeMap::new(),
                    notes,
                    failures: Failures::default(),
                }),
                Err(reason) => results.skipped.push(Skipped {
                    suite,
                    variant: variant.to_string(),
                    reason,
                }),
            }
        }
        for round in 0..wanted.rounds {
            for runs in &mut all {
                if runs.variant.takes_minutes() && !wanted.is_full && round >= FEW {
                    continue;
                }
                self.once(runs, round);
            }
        }
        for runs in &all {
            if let Some(reason) = runs.failures.told() {
                if !matches!(runs.variant, Variant::Peer(_)) {
                    let broken = format!("{suite}, {}: {reason}", runs.variant);
                    results.broken.push(broken);
                }
                results.skipped.push(Skipped {
                    suite,
                    variant: runs.variant.to_string(),
                    reason,
                });
            }
        }
        let nixos = Nixos::among(&all);
        let rows = all
            .iter()
            .filter_map(|runs| results::row(suite, runs, nixos));
        let rows: Vec<Row> = rows.collect();
        results.broken.extend(too_short(&rows));
        results.rows.extend(rows);
        Ok(())
    }

    fn once(&self, runs: &mut Runs, round: usize) {
        eprint!(
            "{}, round {}: {}: ",
            self.suite.name,
            round + 1,
            runs.variant
        );
        match self.run(&runs.variant) {
            Ok(times) => {
                eprintln!("{:.2} s", times.total.as_secs_f64());
                runs.rounds.insert(round, times);
            }
            // Peers have limits of their own, which a slow host may pass; of all others it is a fault, told at the end.
            Err(error) => {
                eprintln!("{error}");
                runs.failures.add(round, &error.to_string());
            }
        }
    }

    /// Whether it can run here, with what is not as it is with attest; or why not.
    fn ready(&self, variant: &Variant) -> Result<std::result::Result<Vec<&'static str>, String>> {
        Ok(match variant {
            Variant::Nixos(_) if self.nixos.is_none() => {
                Err("there is no nixos-test-driver on PATH but attest's".to_owned())
            }
            Variant::Nixos(image) | Variant::DropIn(image) => Ok(nixos::notes(*image)),
            Variant::Floor(backend) => match self.floor(*backend) {
                Some(_) => Ok(Vec::new()),
                None => Err("nobody starts such machines by hand here".to_owned()),
            },
            Variant::Peer(name) => match self.peer(name) {
                Ok(peer) => Ok(peer.notes().to_vec()),
                Err(reason) => Err(reason.to_owned()),
            },
            Variant::Attest { backend, .. } => {
                if let Some(reason) = lacks(*backend) {
                    return Ok(Err(reason));
                }
                if let Some(how) = how(variant) {
                    self.attest.prepare(how)?;
                }
                Ok(Vec::new())
            }
        })
    }

    fn run(&self, variant: &Variant) -> Result<times::Times> {
        match variant {
            Variant::Nixos(image) => {
                let nixos = self.nixos.as_ref().ok_or("it is not there")?;
                self.scripts(*image)?.run(self.suite, Command::new(nixos))
            }
            Variant::DropIn(image) => {
                let mut command = Command::new(&self.program);
                command.arg("nixos-test-driver");
                self.scripts(*image)?.run(self.suite, command)
            }
            Variant::Floor(backend) => self.floor(*backend).ok_or("it is not there")?.run(),
            Variant::Peer(name) => self.peer(name)?.run(),
            Variant::Attest { .. } => {
                let how = how(variant).ok_or("it is not attest")?;
                self.attest.run(how)
            }
        }
    }

    fn scripts(&self, image: Image) -> Result<&StartScripts> {
        match image {
            Image::Lean => Ok(&self.lean),
            Image::Stock => Ok(self.stock.as_ref().ok_or("it is not there")?),
        }
    }

    fn floor(&self, backend: Backend) -> Option<&Floor<'a>> {
        let found = self.floors.iter().find(|(is, _)| *is == backend);
        found.map(|(_, floor)| floor)
    }

    fn peer(&self, name: &str) -> std::result::Result<&(dyn peers::Peer + 'a), &str> {
        let found = self.peers.iter().find(|(is, _)| *is == name);
        match found {
            Some((_, Ok(peer))) => Ok(&**peer),
            Some((_, Err(reason))) => Err(reason),
            None => Err("it is not known"),
        }
    }
}

fn how(variant: &Variant) -> Option<How> {
    let &Variant::Attest {
        surface,
        backend,
        state,
        jobs,
    } = variant
    else {
        return None;
    };
    Some(How {
        surface,
        backend,
        state,
        jobs,
    })
}

/// Why this host has no such machines.
fn lacks(backend: Backend) -> Option<String> {
    match backend {
        Backend::Nspawn => attest_vmm::nspawn::probe().err(),
        Backend::Firecracker | Backend::CloudHypervisor => {
            use attest_vmm::probe::{KvmProbe, kvm};
            match kvm() {
                KvmProbe::Usable => None,
                KvmProbe::Doubtful(why) | KvmProbe::Unusable(why) => {
                    Some(format!("it needs KVM: {why}"))
                }
            }
        }
        _ => None,
    }
}

/// That the suite is not what it is said to be. What is restored does less than what boots: its set-ups were done.
fn too_short(rows: &[Row]) -> Option<String> {
    let long = rows.iter().filter(|row| row.suite == "cli-integration");
    let counted = long.filter_map(|row| row.counted);
    let most = counted.max_by_key(|counted| counted.commands)?;
    let is_enough =
        most.commands >= LEAST.commands && most.waits >= LEAST.waits && most.copies >= LEAST.copies;
    (!is_enough).then(|| format!("cli-integration: it has only {most:?}"))
}

fn write(wanted: &Wanted<'_>, results: &Results) -> Result<()> {
    if let Some(directory) = wanted.results {
        std::fs::create_dir_all(directory)?;
        let mut json = serde_json::to_string_pretty(results)?;
        json.push('\n');
        std::fs::write(directory.join("suites.json"), json)?;
        std::fs::write(directory.join("suites.md"), table::markdown(results))?;
    }
    Ok(())
}

fn show(wanted: &Wanted<'_>, results: &Results) -> Result<()> {
    if wanted.json {
        println!("{}", serde_json::to_string(&results.header)?);
        for row in &results.rows {
            println!("{}", serde_json::to_string(row)?);
        }
        for skipped in &results.skipped {
            println!("{}", serde_json::to_string(skipped)?);
        }
    } else {
        print!("{}", table::markdown(results));
    }
    Ok(())
}
