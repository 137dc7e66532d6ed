# A system's configuration.
{
  system ? builtins.currentSystem,
  lib ? import ../../lib,
  pkgs ? null,
  modules,
  baseModules ? import ../modules/module-list.nix,
  extraModules ? [ ],
  specialArgs ? { },
  prefix ? [ ],
  extraArgs ? { },
  ...
}:
let
  given = {
    _file = ./eval-config.nix;
    key = "eval-config.nix";
    config = lib.mkMerge [
      {
        _module.args = extraArgs // {
          inherit baseModules extraModules modules;
        };
      }
      (lib.optionalAttrs (system != null) { nixpkgs.system = lib.mkDefault system; })
      (lib.optionalAttrs (pkgs != null) { _module.args.pkgs = lib.mkForce pkgs; })
    ];
  };
  evaluated = lib.evalModules {
    class = "nixos";
    inherit prefix;
    specialArgs = {
      modulesPath = toString ../modules;
    }
    // specialArgs;
    modules = baseModules ++ extraModules ++ [ given ] ++ modules;
  };
  withMore =
    evaluated:
    evaluated
    // {
      inherit (evaluated._module.args) pkgs;
      inherit lib;
      extendModules = more: withMore (evaluated.extendModules more);
    };
in
withMore evaluated
