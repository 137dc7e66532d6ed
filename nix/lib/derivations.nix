# All derivations of a test.
{
  lib,
  hostPkgs,
  config,
  # Of the test as a whole: `name`, `requiredSystemFeatures`, and more environment of its shards.
  attributes,
}:
let
  inherit (config) name;
  out = placeholder "out";

  build = import ./builder.nix { attest = config.package; };
  bodies = import ./bodies.nix {
    inherit lib hostPkgs;
    inherit (config) name nodes containers;
  };
  split = import ./split.nix { inherit lib config bodies; };

  machines = builtins.mapAttrs (import ./machine.nix {
    inherit lib build;
    inherit (config.qemu) forceAccel;
  }) config.allMachines;
  tests = builtins.mapAttrs bodies.test config.tests;
  setups = builtins.mapAttrs bodies.setup config.setups;
  pick = keys: set: lib.genAttrs keys (key: set.${key});

  storeImage = import ./store-image.nix {
    inherit
      lib
      build
      config
      machines
      ;
    scripts = builtins.concatMap (body: lib.optional (body ? script) body.script) (
      builtins.attrValues tests ++ builtins.attrValues setups
    );
  };

  manifest =
    suffix: arguments:
    hostPkgs.writeText "attest-${name}${suffix}.json" (
      import ./manifest.nix { inherit lib; } (
        {
          inherit name storeImage;
          inherit (config) globalTimeout;
        }
        // arguments
      )
    );

  # The log's level is an option of attest, not of its command.
  verbosity =
    {
      debug = [ "--verbose" ];
      info = [ ];
      warning = [ "--quiet" ];
      error = [ "--quiet" ];
    }
    .${config.logLevel};

  run =
    { name, args }:
    build {
      inherit name;
      args =
        verbosity
        ++ [ "nix" ]
        ++ args
        ++ [
          "--output"
          out
        ];
      path = config.programs;
      attributes = removeAttrs attributes [
        "name"
        "meta"
        "passthru"
      ];
    };

  isOne = builtins.length split.groups <= 1;

  lab =
    group:
    let
      prefix = if isOne then null else group.name;
    in
    import ./lab.nix {
      inherit
        lib
        config
        group
        prefix
        run
        ;
      inherit (split) chain;
      manifestOf =
        part: setupKeys: ownTests:
        manifest
          (lib.concatMapStrings (each: "-${each}") (
            if part != null then [ part ] else lib.optional (prefix != null) prefix
          ))
          {
            machines = map (machine: machines.${machine}) group.machines;
            setups = pick setupKeys setups;
            tests = if ownTests != null then ownTests else pick group.tests tests;
          };
    };
  labs = map lab split.groups;
  merged = field: builtins.foldl' (all: each: all // each.${field}) { } labs;
  shards = merged "shards";

  aggregate =
    aggregateName: more:
    build {
      name = aggregateName;
      args = [
        "nix"
        "aggregate"
        "--name"
        name
      ]
      ++ more
      ++ [
        "--output"
        out
      ]
      ++ builtins.attrValues shards;
    };
in
{
  inherit storeImage shards;
  snapshots = merged "snapshots";

  problems = import ./problems.nix {
    inherit
      lib
      config
      bodies
      split
      ;
  };

  # All labs in one, for whoever runs them by hand.
  manifest = manifest "" {
    machines = builtins.attrValues machines;
    inherit tests setups;
    independent = config.independent == true;
  };

  test = aggregate attributes.name [ ];
  report = aggregate "attest-report-${name}" [ "--report" ];
}
