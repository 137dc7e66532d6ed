# What the test is called, and what is known of it.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    name = mkOption {
      type = types.str;
      default = "unnamed";
      description = "The name of the test. The derivation is called `vm-test-run-NAME`.";
      example = "web";
    };

    meta = mkOption {
      description = "The `meta` attributes of the test and its driver.";
      default = { };
      apply = lib.filterAttrs (_: value: value != null);
      type = types.submodule {
        # Tests in nixpkgs have more of them than anybody reads.
        freeformType = types.lazyAttrsOf types.raw;
        options = {
          maintainers = mkOption {
            type = types.listOf types.raw;
            default = [ ];
            description = "Who maintains the test.";
          };
          timeout = mkOption {
            type = types.nullOr types.int;
            default = 3600;
            description = "How long Hydra lets the test build, in seconds.";
          };
          broken = mkOption {
            type = types.bool;
            default = false;
            description = "Whether the test is known to be broken.";
          };
          platforms = mkOption {
            type = types.listOf types.raw;
            default = [ "x86_64-linux" ];
            description = "Where the test can be built.";
          };
        };
      };
    };

    passthru = mkOption {
      type = types.lazyAttrsOf types.raw;
      default = { };
      description = "Attributes that are added to the test's derivation, and change nothing of it.";
    };
  };

  config.passthru = {
    inherit config;
  };
}
