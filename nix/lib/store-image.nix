# The image of the store for all nodes of a test, and how large it may be.
{
  lib,
  build,
  config,
  # As of machine.nix, by name.
  machines,
  # Files, to which scripts that refer to packages belong: nodes may run those.
  scripts,
}:
let
  limited = builtins.filter (name: config.allMachines.${name}.attest.diskLimit != null) (
    builtins.attrNames config.allMachines
  );
  limitOf = name: config.allMachines.${name}.attest.diskLimit;
  strictest = builtins.head (builtins.sort (a: b: limitOf a < limitOf b) limited);

  roots = lib.unique (
    scripts ++ builtins.concatMap (machine: machine.closure) (builtins.attrValues machines)
  );
in
import ../image/store.nix { inherit build; } (
  {
    inherit (config) name;
    inherit roots;
  }
  // lib.optionalAttrs (limited != [ ]) {
    atMost = limitOf strictest;
    limitOf = "virtualisation.diskSize of the node `${strictest}` in the test `${config.name}`";
  }
)
