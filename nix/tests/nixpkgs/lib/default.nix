# As much of nixpkgs' `lib` as attest's Nix code needs, under the same names: written for these tests,
# with nothing in it that nixpkgs' own would do otherwise.
let
  lib = {
    inherit lib;
    trivial = import ./trivial.nix { inherit lib; };
    attrsets = import ./attrsets.nix { inherit lib; };
    lists = import ./lists.nix { inherit lib; };
    strings = import ./strings.nix { inherit lib; };
    fixedPoints = import ./fixed-points.nix { inherit lib; };
    options = import ./options.nix { inherit lib; };
    modules = import ./modules.nix { inherit lib; };
    types = import ./types.nix { inherit lib; };
    customisation = import ./customisation.nix { inherit lib; };
    meta = import ./meta.nix { inherit lib; };
    generators = import ./generators.nix { inherit lib; };
    fileset = {
      unions = paths: paths;
      toSource = { root, ... }: root;
    };
    asserts = { inherit (lib.trivial) assertMsg assertOneOf; };
    debug = { inherit (builtins) trace; };
    licenses = {
      asl20 = {
        spdxId = "Apache-2.0";
        free = true;
      };
      mit = {
        spdxId = "MIT";
        free = true;
      };
    };
    maintainers = { };
    teams = { };
    platforms = {
      linux = [
        "aarch64-linux"
        "x86_64-linux"
      ];
    };
    systems.flakeExposed = [
      "aarch64-linux"
      "x86_64-linux"
    ];
  }
  // import ./trivial.nix { inherit lib; }
  // import ./attrsets.nix { inherit lib; }
  // import ./lists.nix { inherit lib; }
  // import ./strings.nix { inherit lib; }
  // import ./fixed-points.nix { inherit lib; }
  // import ./options.nix { inherit lib; }
  // import ./modules.nix { inherit lib; }
  // import ./customisation.nix { inherit lib; }
  // import ./meta.nix { inherit lib; };
in
lib
