{
  description = "A stub of flake-parts, as far as attest's module for it goes";

  outputs =
    _:
    let
      libFor = lib: rec {
        mkPerSystemOption =
          module:
          lib.mkOption {
            type = lib.types.deferredModuleWith { staticModules = [ module ]; };
          };
        core =
          { config, inputs, ... }:
          let
            evaluated = lib.genAttrs config.systems (
              system:
              (lib.evalModules {
                specialArgs = { inherit system; };
                modules = [
                  config.perSystem
                  { _module.args.pkgs = lib.mkOptionDefault inputs.nixpkgs.legacyPackages.${system}; }
                ];
              }).config
            );
          in
          {
            options = {
              systems = lib.mkOption { type = lib.types.listOf lib.types.str; };
              flake = lib.mkOption {
                type = lib.types.lazyAttrsOf lib.types.raw;
                default = { };
              };
              perSystem =
                mkPerSystemOption {
                  options.checks = lib.mkOption {
                    type = lib.types.lazyAttrsOf lib.types.package;
                    default = { };
                  };
                }
                // {
                  default = { };
                };
            };
            config.flake.checks = builtins.mapAttrs (_: each: each.checks) evaluated;
          };
      };
    in
    {
      lib.mkFlake =
        { inputs }:
        module:
        let
          inherit (inputs.nixpkgs) lib;
          flake-parts-lib = libFor lib;
        in
        (lib.evalModules {
          specialArgs = { inherit flake-parts-lib inputs; };
          modules = [
            flake-parts-lib.core
            module
          ];
        }).config.flake;
    };
}
