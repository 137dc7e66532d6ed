# The machines, as NixOS configurations.
{
  config,
  lib,
  hostPkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  nixos = hostPkgs.path + "/nixos";

  # The same base as of NixOS's tests: all modules of NixOS, and the options of its virtual machines, whose
  # definitions attest's module replaces where attest boots otherwise than QEMU's script.
  base = import (nixos + "/lib/eval-config.nix") {
    inherit (hostPkgs) lib;
    system = null;
    inherit (config.node) specialArgs;
    modules = [ config.defaults ];
    baseModules = import (nixos + "/modules/module-list.nix") ++ [
      (nixos + "/modules/virtualisation/qemu-vm.nix")
      ../../modules/test.nix
      (import ../network.nix {
        inherit (hostPkgs) lib;
        machines = config.allMachines;
      })
      {
        key = "attest-nodes";
        _module.args = {
          inherit (config) nodes containers;
        };
      }
      {
        key = "attest-host";
        virtualisation.qemu.package = config.qemu.package;
        virtualisation.host.pkgs = hostPkgs;
      }
      config.extraBaseModules
    ];
  };

  ofBackend = backend: modules: {
    inherit
      (base.extendModules {
        modules = modules ++ [
          {
            key = "attest-backend";
            attest.backend = lib.mkDefault backend;
          }
        ];
      })
      type
      ;
  };
in
{
  options = {
    node.type = mkOption {
      type = types.raw;
      internal = true;
      default = (ofBackend config.backend [ config.nodeDefaults ]).type;
    };

    container.type = mkOption {
      type = types.raw;
      internal = true;
      default =
        (ofBackend "nspawn" [
          { boot.isContainer = true; }
          config.containerDefaults
        ]).type;
    };

    nodes = mkOption {
      type = types.lazyAttrsOf config.node.type;
      default = { };
      description = ''
        NixOS configurations of the machines, by name. Node M in the order of names has the address 192.168.N.M
        on VLAN N.
      '';
      example = lib.literalExpression "{ server.services.nginx.enable = true; }";
    };

    containers = mkOption {
      type = types.lazyAttrsOf config.container.type;
      default = { };
      description = "NixOS configurations of machines that are containers of systemd-nspawn.";
    };

    allMachines = mkOption {
      type = types.raw;
      internal = true;
      readOnly = true;
      default = config.nodes // config.containers;
    };

    defaults = mkOption {
      type = types.deferredModule;
      default = { };
      description = "NixOS configuration that all machines have.";
    };

    nodeDefaults = mkOption {
      type = types.deferredModule;
      default = { };
      description = "NixOS configuration that all `nodes` have.";
    };

    containerDefaults = mkOption {
      type = types.deferredModule;
      default = { };
      description = "NixOS configuration that all `containers` have.";
    };

    extraBaseModules = mkOption {
      type = types.deferredModule;
      default = { };
      description = ''
        As `defaults`, also for specialisations that do not inherit their parent's configuration.
      '';
    };

    node.pkgs = mkOption {
      type = types.nullOr types.raw;
      default = null;
      description = ''
        The nixpkgs of the machines; with it the options `nixpkgs.*` of nodes are read-only. Without it machines
        have `hostPkgs`.
      '';
    };

    node.pkgsReadOnly = mkOption {
      type = types.bool;
      default = config.node.pkgs != null;
      defaultText = lib.literalExpression "node.pkgs != null";
      description = "Whether the options `nixpkgs.*` of nodes are read-only, which evaluates faster.";
    };

    node.specialArgs = mkOption {
      type = types.lazyAttrsOf types.raw;
      default = { };
      description = "Arguments of the machines' modules that can be used in their `imports`.";
    };
  };

  config = {
    _module.args = {
      inherit (config) nodes containers;
    };

    defaults.imports = [
      (
        if config.node.pkgsReadOnly then
          { imports = [ (nixos + "/modules/misc/nixpkgs/read-only.nix") ]; }
        else
          { }
      )
      {
        nixpkgs.pkgs = if config.node.pkgs != null then config.node.pkgs else lib.mkDefault hostPkgs;
      }
    ];

    passthru = {
      inherit (config) nodes containers;
    };
  };
}
