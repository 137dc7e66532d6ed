{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  file =
    { name, config, ... }:
    {
      options = {
        enable = mkOption {
          type = types.bool;
          default = true;
        };
        target = mkOption {
          type = types.str;
          default = name;
        };
        text = mkOption {
          type = types.nullOr types.lines;
          default = null;
        };
        source = mkOption { type = types.path; };
        mode = mkOption {
          type = types.str;
          default = "symlink";
        };
        user = mkOption {
          type = types.str;
          default = "root";
        };
        group = mkOption {
          type = types.str;
          default = "root";
        };
      };
      config.source = lib.mkIf (config.text != null) (
        pkgs.writeText "etc-${lib.strings.sanitizeDerivationName name}" config.text
      );
    };
  files = lib.filter (file: file.enable) (builtins.attrValues config.environment.etc);
in
{
  options = {
    environment = {
      etc = mkOption {
        type = types.attrsOf (types.submodule file);
        default = { };
      };
      systemPackages = mkOption {
        type = types.listOf types.package;
        default = [ ];
      };
      variables = mkOption {
        type = types.attrsOf types.str;
        default = { };
      };
    };
    system.path = mkOption { internal = true; };
    time.timeZone = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    documentation = {
      enable = mkOption {
        type = types.bool;
        default = true;
      };
      nixos.enable = mkOption {
        type = types.bool;
        default = true;
      };
    };
    nix.enable = mkOption {
      type = types.bool;
      default = true;
    };
  };
  config = {
    environment.systemPackages = [
      pkgs.bash
      pkgs.busybox
    ];
    environment.etc.os-release.text = ''
      ID=nixos
      NAME=NixOS
      PRETTY_NAME="NixOS (a stub)"
    '';
    system.path = pkgs.buildEnv {
      name = "system-path";
      paths = config.environment.systemPackages;
    };
    system.build.etc = pkgs.linkFarm "etc" (
      map (file: {
        name = file.target;
        path = file.source;
      }) files
    );
  };
}
