# What comes out: the derivation that is the test, and what tools expect at it.
{
  config,
  options,
  extendModules,
  lib,
  hostPkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (config) name;

  attributes = lib.fix config.rawTestDerivationArg;
  made = import ../derivations.nix {
    inherit
      lib
      hostPkgs
      config
      attributes
      ;
  };

  message = import ../message.nix { inherit lib hostPkgs config; } made.problems;
  warned =
    value:
    builtins.foldl' (
      rest: text: builtins.trace "attest: the test `${name}`: ${text}" rest
    ) value config.warnings;

  # Nothing that is built comes about before it is clear that it can. Nix shows the place of each step on the way to an
  # error: this is the only one.
  checked = value: if message == null then value else throw message;

  # What only lists tests evaluates none. `mapAttrs` makes attributes without places, which no error shows.
  lazy =
    passthru: derivation:
    let
      self = builtins.mapAttrs (_: value: value) (
        passthru
        // {
          type = "derivation";
          inherit (attributes) name meta;
          inherit passthru;
          system = "x86_64-linux";
          drvPath = checked (warned derivation).drvPath;
          outPath = checked derivation.outPath;
          outputName = "out";
          outputs = [ "out" ];
          out = self;
          all = [ self ];
        }
      );
    in
    self;

  extend = args: (extendModules args).config.test;

  # As of nixpkgs' `lib.toExtension`, which 23.11 has not.
  toExtension =
    f:
    if lib.isFunction f then
      final: prev:
      let
        once = f prev;
      in
      if lib.isFunction once then f final prev else once
    else
      _: _: f;
in
{
  options = {
    test = mkOption {
      type = types.raw;
      description = "The derivation that is the test.";
      defaultText = lib.literalExpression "made of the test";
    };

    result = mkOption {
      type = types.raw;
      internal = true;
      default = config.test;
    };

    manifest = mkOption {
      type = types.raw;
      internal = true;
      readOnly = true;
    };
  };

  config = {
    test = lazy (config.passthru // attributes.passthru) made.test;
    manifest = checked made.manifest;

    rawTestDerivationArg = _: {
      name = "vm-test-run-${name}";
      requiredSystemFeatures = [
        "nixos-test"
      ]
      ++ import ../features.nix { inherit lib config; };
      inherit (config) meta;
      # More than the test has by itself, for what that is knows only the test that comes of it.
      passthru = { };
    };

    passthru = {
      inherit (config) test manifest;
      inherit extend;
      shards = checked made.shards;
      shardOutputs = builtins.mapAttrs (
        _: shard: builtins.unsafeDiscardStringContext shard.outPath
      ) config.passthru.shards;
      snapshots = checked made.snapshots;
      storeImage = checked made.storeImage;
      report = checked made.report;

      overrideTestDerivation =
        f:
        extend {
          modules = [
            {
              rawTestDerivationArg = lib.mkOverride (options.rawTestDerivationArg.highestPrio - 1) (
                lib.extends (toExtension f) options.rawTestDerivationArg.value
              );
            }
          ];
        };

      extendNixOS =
        {
          module,
          specialArgs ? { },
        }:
        extend {
          modules = [
            {
              extraBaseModules = module;
              node.specialArgs = specialArgs;
            }
          ];
        };
    };
  };
}
