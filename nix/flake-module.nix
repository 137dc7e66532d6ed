# For flake-parts: tests in `perSystem.attest.tests` become checks.
{ attest }:
{ lib, flake-parts-lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.perSystem = flake-parts-lib.mkPerSystemOption (
    {
      config,
      pkgs,
      system,
      ...
    }:
    {
      options.attest = {
        pkgs = mkOption {
          type = types.raw;
          default = pkgs;
          defaultText = lib.literalExpression "pkgs";
          description = "The nixpkgs of hosts and nodes.";
        };

        defaults = mkOption {
          type = types.deferredModule;
          default = { };
          description = "Options that all tests have.";
          example = lib.literalExpression "{ backend = \"firecracker\"; }";
        };

        tests = mkOption {
          type = types.lazyAttrsOf types.deferredModule;
          default = { };
          description = "Tests, as modules of `attest.lib.mkTest`. Each is a check of its name.";
          example = lib.literalExpression "{ web = ./tests/web.nix; }";
        };
      };

      # Elsewhere there are none, so that a flake for several systems need not say where.
      config.checks = lib.optionalAttrs (system == "x86_64-linux") (
        builtins.mapAttrs (
          name: test:
          (attest.forPkgs config.attest.pkgs).mkTest {
            imports = [
              config.attest.defaults
              test
            ];
            name = lib.mkDefault name;
          }
        ) config.attest.tests
      );
    }
  );
}
