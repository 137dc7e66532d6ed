# What `cargo xtask bench nix` builds. All of it is new for each `salt`.
{
  nixpkgs ? ./nixpkgs,
  salt ? "0",
}:
let
  inherit (import ./with-stub.nix { inherit nixpkgs; }) pkgs lib mkTest;

  # A system of a thousand directories, none of which takes a builder.
  part =
    number:
    builtins.path {
      name = "part-${toString number}";
      path = ./lib;
      filter = _: _: false;
    };
  parts = builtins.genList part 1000;
  many = pkgs.writeText "nixos-system-many" (builtins.concatStringsSep "\n" parts);
  build = import ../lib/builder.nix { attest = pkgs.attest; };
  image = import ../image/store.nix { inherit build; } {
    name = "many";
    roots = [ many ];
  };

  # A derivation that does nothing, but begin; with these inputs.
  begins =
    name: inputs:
    derivation {
      name = "begins-${name}-${salt}";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [
        "-c"
        "echo > $out"
      ];
      inherit inputs;
    };

  step = name: {
    on = name;
    run = ": ${salt}";
  };
  machines = [
    "a"
    "b"
    "c"
    "d"
  ];
  each =
    f:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) machines
    );

  ten = lib.genAttrs (builtins.genList (number: "test-${toString number}") 10) (_: {
    steps = [ (step "machine") ];
  });
  suite =
    name: more:
    mkTest (
      {
        name = "${name}-${salt}";
        nodes.machine = { };
        tests = ten;
      }
      // more
    );
in
{
  inherit image many;

  # How long Nix takes to begin a test.
  begins-with-nothing = begins "with-nothing" [ ];
  begins-with-image = begins "with-image" [ image ];
  begins-with-system = begins "with-system" [ many ];

  # Four machines that never talk to each other: four derivations, and one that boots them all.
  four = mkTest {
    name = "four-${salt}";
    independent = true;
    nodes = each (_: { });
    tests = each (name: {
      steps = [ (step name) ];
    });
  };
  four-in-one = mkTest {
    name = "four-in-one-${salt}";
    nodes = each (_: { });
    tests.all.steps = [ ((step "a") // { on = machines; }) ];
  };

  # Ten tests, each a derivation: from a snapshot, and from power-on. And in one derivation.
  ten-restored = suite "ten-restored" {
    snapshots = "ready";
    shards = 10;
  };
  ten-plain = suite "ten-plain" {
    snapshots = "ready";
    snapshotPacking = "none";
    shards = 10;
  };
  ten-booted = suite "ten-booted" { shards = 10; };
  ten-in-one = suite "ten-in-one" { };
}
