//! The ways to run a suite.

use std::fmt;

use attest::Backend;
use serde::Serialize;

use super::suite::Image;

/// One way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variant {
    /// attest on its own machines.
    Attest {
        surface: Surface,
        backend: Backend,
        state: State,
        jobs: u8,
    },
    /// attest in place of the NixOS test driver, on that driver's start scripts.
    DropIn(Image),
    /// The NixOS test driver.
    Nixos(Image),
    /// No driver.
    Floor(Backend),
    /// Another driver of virtual machines, by its name.
    Peer(&'static str),
}

/// What a suite is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Surface {
    /// The script that the NixOS test driver runs.
    Nixos,
    Python,
    Rust,
}

/// What of earlier runs there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Nothing.
    Cold,
    /// Images.
    Warm,
    /// Images and the lab's snapshot.
    Restored,
}

impl Surface {
    pub(crate) const ALL: [Self; 3] = [Self::Nixos, Self::Python, Self::Rust];

    /// The name of its tests in the manifests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nixos => "nixos",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }

    /// The most tests at once that make a difference: a script of the NixOS test driver is one test.
    fn jobs(self) -> std::ops::RangeInclusive<u8> {
        match self {
            Self::Nixos => 1..=1,
            Self::Python | Self::Rust => 1..=2,
        }
    }
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Restored => "restored",
        }
    }
}

impl Image {
    fn words(self) -> &'static str {
        match self {
            Self::Lean => "",
            Self::Stock => ", stock image",
        }
    }
}

impl Variant {
    /// All that anybody could run, those first that the others are compared with.
    pub(crate) fn all(peers: &[&'static str]) -> Vec<Self> {
        let mut all = vec![
            Self::Nixos(Image::Stock),
            Self::DropIn(Image::Stock),
            Self::Nixos(Image::Lean),
            Self::DropIn(Image::Lean),
        ];
        for backend in [
            Backend::Qemu,
            Backend::Nspawn,
            Backend::Firecracker,
            Backend::CloudHypervisor,
        ] {
            if matches!(backend, Backend::Qemu | Backend::Nspawn) {
                all.push(Self::Floor(backend));
            }
            all.extend(Self::of_attest(backend));
        }
        all.extend(peers.iter().map(|name| Self::Peer(name)));
        all
    }

    /// Whether its guests boot all that the distribution starts.
    pub(crate) fn boots_stock(&self) -> bool {
        matches!(self, Self::Nixos(Image::Stock) | Self::DropIn(Image::Stock))
    }

    fn of_attest(backend: Backend) -> impl Iterator<Item = Self> {
        // Containers cannot be saved, and what is cold is so whatever tests are written in.
        let states: &[State] = if backend == Backend::Nspawn {
            &[State::Warm, State::Cold]
        } else {
            &[State::Warm, State::Restored, State::Cold]
        };
        states.iter().flat_map(move |&state| {
            let surfaces = Surface::ALL.into_iter();
            let surfaces =
                surfaces.filter(move |&surface| state != State::Cold || surface == Surface::Python);
            surfaces.flat_map(move |surface| {
                surface.jobs().map(move |jobs| Self::Attest {
                    surface,
                    backend,
                    state,
                    jobs,
                })
            })
        })
    }

    /// Whether it begins with an empty cache, or is another driver: most of the minutes that this takes are not attest's.
    pub(crate) fn takes_minutes(&self) -> bool {
        matches!(
            self,
            Self::Peer(_)
                | Self::Attest {
                    state: State::Cold,
                    ..
                }
        )
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attest {
                surface,
                backend,
                state,
                jobs,
            } => {
                let (backend, surface, state) = (backend.name(), surface.name(), state.name());
                write!(f, "attest, {backend}, {surface}, {state}, -j{jobs}")
            }
            Self::DropIn(image) => {
                write!(
                    f,
                    "attest in place of the NixOS test driver{}",
                    image.words()
                )
            }
            Self::Nixos(image) => write!(f, "NixOS test driver{}", image.words()),
            Self::Floor(backend) => write!(f, "by hand, {}", backend.name()),
            Self::Peer(name) => f.write_str(name),
        }
    }
}
