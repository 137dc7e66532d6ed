//! A suite: its manifest, and what guests of any driver boot of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use attest::images::{self, ReadyImage};
use attest::manifest::{CardPlan, FileContent, FilePlan, LabPlan, MachinePlan, Manifest};
use attest_fixture::{Fixture, GuestFile, Node};
use attest_image::{Cache, Kernel, KernelSource};

use crate::Result;

/// Where they are, from the top of the checkout.
const DIRECTORY: &str = "bench/suites";
pub(crate) const NAMES: [&str; 3] = ["module-smoke", "policy-reload", "cli-integration"];
/// Its kernel knows 9p, which guests of the NixOS test driver share directories by; kernels for clouds do not.
const KERNEL: &str = "linux-image-amd64";

/// One of the three.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) directory: PathBuf,
    pub(crate) plan: LabPlan,
    images: Vec<ReadyImage>,
    pub(crate) kernel: Kernel,
    /// The guest that has no attest.
    pub(crate) fixture: Fixture,
    /// The same of the image as it is without attest's choices, where anybody wants it.
    pub(crate) stock: Option<Fixture>,
}

/// What guests without attest boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// attest's own, which is lean.
    Lean,
    /// All that the distribution starts.
    Stock,
}

impl Suite {
    /// Its images are built where the cache has them not.
    pub(crate) fn load(name: &'static str, cache: &Cache, with_stock: bool) -> Result<Self> {
        let directory = std::path::absolute(DIRECTORY)?.join(name);
        let plan = Manifest::load(&directory)?.plan()?;
        let kernel = kernel(cache)?;
        let modules = kernel.module_image(cache, &mut |step| eprintln!("{step}"))?;
        let fixture = |images: &[ReadyImage]| -> Result<Fixture> {
            let [image] = images else {
                return Err(format!("{name} should have one image").into());
            };
            let modules = modules.as_deref();
            Ok(Fixture::of_image(cache, &kernel, &image.path, modules)?)
        };
        let images = build(cache, &directory)?;
        let stock = || fixture(&build(cache, stock(&directory)?.path())?);
        let stock = with_stock.then(stock).transpose()?;
        Ok(Self {
            fixture: fixture(&images)?,
            stock,
            name,
            directory,
            plan,
            images,
            kernel,
        })
    }

    /// The root of all its machines: an erofs.
    pub(crate) fn image(&self) -> &Path {
        &self.images[0].path
    }

    /// A machine as a guest without attest, with these files beside its own: on its VLAN by the address that its
    /// hardware address says, and with all others' names.
    pub(crate) fn node(&self, machine: &MachinePlan, more: Vec<GuestFile>) -> Result<Node> {
        let mut files = more;
        files.extend(self.files(machine)?);
        let vlans: Result<Vec<u8>> = machine.cards.iter().map(|card| self.vlan(card)).collect();
        let mut node = Node::new(&machine.name, u8::try_from(machine.number)?).on(&vlans?);
        node.memory = u32::try_from(machine.memory >> 20)?;
        let (_, argument) = self.fixture.disks_of_image();
        node.kernel_arguments = vec![argument.to_owned(), "net.ifnames=0".to_owned()];
        node.files = files;
        Ok(node)
    }

    /// What a machine has that the image has not.
    pub(crate) fn files(&self, machine: &MachinePlan) -> Result<Vec<GuestFile>> {
        let own: Result<Vec<_>> = machine.files.iter().map(file).collect();
        let mut files = own?;
        files.push(GuestFile {
            path: "/etc/hosts".to_owned(),
            mode: 0o644,
            contents: self.hosts().into_bytes(),
        });
        Ok(files)
    }

    fn hosts(&self) -> String {
        let mut text = "127.0.0.1 localhost\n".to_owned();
        for machine in &self.plan.machines {
            for vlan in machine.cards.iter().filter_map(|card| self.vlan(card).ok()) {
                let (name, number) = (&machine.name, machine.number);
                let _ = writeln!(text, "192.168.{vlan}.{number} {name}");
            }
        }
        text
    }

    /// The number of its network, from 1.
    fn vlan(&self, card: &CardPlan) -> Result<u8> {
        let networks = &self.plan.networks;
        let index = networks
            .iter()
            .position(|network| network.name == card.network);
        let index = index.ok_or("a card is on no network of the plan")?;
        Ok(u8::try_from(index + 1)?)
    }

    /// The numbers of all its networks.
    pub(crate) fn vlans(&self) -> Vec<u8> {
        (1..).take(self.plan.networks.len()).collect()
    }
}

fn build(cache: &Cache, manifest: &Path) -> Result<Vec<ReadyImage>> {
    Ok(images::build(cache, manifest, &[], &mut |step| {
        eprintln!("{step}");
    })?)
}

/// Logins on the lines that its driver speaks over: NixOS's guests for tests have none, either.
const LOGINS: [&str; 2] = ["serial-getty@hvc0.service", "serial-getty@ttyS0.service"];

/// The suite's image, of which everything starts, and a machine, for a manifest has one.
fn stock(directory: &Path) -> Result<tempfile::TempDir> {
    const FILE: &str = "attest.toml";
    let mut manifest: toml::Table = std::fs::read_to_string(directory.join(FILE))?.parse()?;
    manifest.remove("tests");
    let machine = toml::Table::from_iter([("any".to_owned(), toml::Table::new().into())]);
    manifest.insert("machines".to_owned(), machine.into());
    let images = manifest.get_mut("images").and_then(|it| it.as_table_mut());
    for (_, image) in images.into_iter().flatten() {
        let image = image.as_table_mut().ok_or("an image is no table")?;
        image.insert("profile".to_owned(), "full".into());
        let units = image
            .entry("units")
            .or_insert_with(|| toml::Table::new().into());
        let units = units.as_table_mut().ok_or("units are no table")?;
        units.insert("mask".to_owned(), LOGINS.to_vec().into());
    }
    let place = tempfile::tempdir()?;
    std::fs::write(place.path().join(FILE), manifest.to_string())?;
    Ok(place)
}

fn kernel(cache: &Cache) -> Result<Kernel> {
    let asked = std::env::var_os("ATTEST_KERNEL").map(PathBuf::from);
    let package = || KernelSource::Package(KERNEL.to_owned());
    let source = asked.map_or_else(package, KernelSource::Path);
    Ok(Kernel::find(cache, &source, &mut |step| {
        eprintln!("{step}");
    })?)
}

fn file(plan: &FilePlan) -> Result<GuestFile> {
    let contents = match &plan.content {
        FileContent::Text(text) => text.clone().into_bytes(),
        FileContent::Source(path) => std::fs::read(path)?,
    };
    Ok(GuestFile {
        path: plan.path.display().to_string(),
        mode: plan.mode.unwrap_or(0o644),
        contents,
    })
}
