{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  names = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
in
{
  options = {
    boot = {
      isContainer = flag false;
      kernelPackages = mkOption {
        type = types.raw;
        default = pkgs.linuxPackages;
      };
      kernel.enable = flag true;
      kernel.sysctl = mkOption {
        type = types.attrsOf (
          types.nullOr (
            types.oneOf [
              types.bool
              types.int
              types.str
            ]
          )
        );
        default = { };
      };
      kernelParams = names;
      kernelModules = names;
      blacklistedKernelModules = names;
      extraModulePackages = mkOption {
        type = types.listOf types.package;
        default = [ ];
      };
      supportedFilesystems = names;
      consoleLogLevel = mkOption {
        type = types.int;
        default = 4;
      };
      initrd = {
        enable = flag (!config.boot.isContainer);
        systemd.enable = flag false;
        kernelModules = names;
        availableKernelModules = names;
        supportedFilesystems = names;
        verbose = flag true;
      };
      loader = {
        grub.enable = flag true;
        systemd-boot.enable = flag false;
        timeout = mkOption {
          type = types.nullOr types.int;
          default = 5;
        };
      };
      postBootCommands = mkOption {
        type = types.lines;
        default = "";
      };
      tmp.useTmpfs = flag false;
      growPartition = flag false;
    };
    fileSystems = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              mountPoint = mkOption {
                type = types.str;
                default = name;
              };
              device = mkOption {
                type = types.nullOr types.str;
                default = null;
              };
              label = mkOption {
                type = types.nullOr types.str;
                default = null;
              };
              fsType = mkOption {
                type = types.str;
                default = "auto";
              };
              options = mkOption {
                type = types.listOf types.str;
                default = [ "defaults" ];
              };
              neededForBoot = flag false;
              autoFormat = flag false;
              noCheck = flag false;
              overlay = mkOption {
                type = types.raw;
                default = null;
              };
            };
          }
        )
      );
    };
    swapDevices = mkOption {
      type = types.listOf types.raw;
      default = [ ];
    };
    hardware.deviceTree.enable = flag false;
    powerManagement.enable = flag true;
    system = {
      modulesTree = mkOption {
        type = types.listOf types.path;
        default = [ ];
        # As links, which is how NixOS has it.
        apply =
          packages:
          pkgs.symlinkJoin {
            name = "kernel-modules";
            paths = packages;
            postBuild = "find $out -maxdepth 1 -type l -exec rm {} +";
          };
      };
      boot.loader.kernelFile = mkOption {
        type = types.str;
        default = pkgs.stdenv.hostPlatform.linux-kernel.target;
      };
      boot.loader.initrdFile = mkOption {
        type = types.str;
        default = "initrd";
      };
      requiredKernelConfig = mkOption {
        type = types.listOf types.attrs;
        default = [ ];
      };
    };
    lib = mkOption {
      type = types.attrsOf types.attrs;
      default = { };
    };
  };
  config = {
    system.modulesTree = lib.mkIf config.boot.kernel.enable (
      [ config.boot.kernelPackages.kernel ] ++ config.boot.extraModulePackages
    );
    system.build.kernel = config.boot.kernelPackages.kernel;
    lib.kernelConfig =
      let
        check = method: name: {
          assertion = kernel: kernel.${method} name;
          message = "CONFIG_${name} is not ${method}!";
          configLine = "CONFIG_${name}";
        };
      in
      {
        isYes = check "isYes";
        isModule = check "isModule";
        isEnabled = check "isEnabled";
      };
    assertions = map (needed: {
      assertion = needed.assertion config.boot.kernelPackages.kernel.config;
      inherit (needed) message;
    }) config.system.requiredKernelConfig;
  };
}
