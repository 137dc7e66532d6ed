//! What can be wrong with a system that Nix built.

use std::path::PathBuf;

/// What can be wrong with a system that Nix built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NixError {
    /// It is somewhere else.
    #[error(
        "it does not lead into the store {}; give the path that `nix build` printed or its link `result`",
        store.display()
    )]
    NotInStore {
        /// Where paths are looked for.
        store: PathBuf,
    },
    /// It is something else.
    #[error(
        "`{name}` is no NixOS: there is no `init` in it; build `config.system.build.toplevel` of the configuration"
    )]
    NotASystem {
        /// Its name in the store.
        name: String,
    },
    /// A list of paths does not tell the system.
    #[error("its `store-paths` have {} systems in them, and there must be one{}", names.len(), listed(names))]
    Systems {
        /// Their names in the store.
        names: Vec<String>,
    },
    /// A part is not in the store.
    #[error(
        "it needs `{name}`, which is not in the store {}; build it again, and keep it from garbage collection", store.display()
    )]
    Missing {
        /// Its name in the store.
        name: String,
        /// Where it was looked for.
        store: PathBuf,
    },
    /// A line that is no path of a store.
    #[error("its `store-paths` name `{line}`, which is no path of a store")]
    Line {
        /// As it stands there.
        line: String,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(": {}", names.join(", ")),
    }
}
