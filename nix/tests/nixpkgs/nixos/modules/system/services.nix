# Services: recorded, and in a guest all of them are started at once.
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
  list =
    type:
    mkOption {
      type = types.listOf type;
      default = [ ];
    };
  anything =
    default:
    mkOption {
      type = types.attrsOf types.anything;
      inherit default;
    };
  unit = {
    freeformType = types.lazyAttrsOf types.anything;
    options = {
      enable = flag true;
      wantedBy = list types.str;
      unitConfig = anything { };
    };
  };
  service = {
    imports = [ unit ];
    options = {
      script = mkOption {
        type = types.lines;
        default = "";
      };
      path = list (types.either types.package types.str);
      environment = mkOption {
        type = types.attrsOf (types.nullOr types.str);
        default = { };
      };
      serviceConfig = anything { };
    };
  };
  run =
    name: service:
    let
      start = lib.concatStringsSep "\n" (lib.toList (service.serviceConfig.ExecStart or [ ]));
    in
    pkgs.writeScript "unit-${lib.strings.sanitizeDerivationName name}" ''
      #!${pkgs.bash}/bin/bash
      export PATH=${lib.makeBinPath service.path}:$PATH
      ${lib.concatStrings (
        lib.mapAttrsToList (
          name: value: lib.optionalString (value != null) "export ${lib.toShellVar name value}\n"
        ) service.environment
      )}
      ${lib.concatMapStrings (name: "mkdir -p /run/${name}\n") (
        lib.toList (service.serviceConfig.RuntimeDirectory or [ ])
      )}
      cd ${lib.escapeShellArg (service.serviceConfig.WorkingDirectory or "/")}
      ${service.script}
      ${start}
    '';
  started = lib.filterAttrs (
    _: service: service.enable && (service.wantedBy != [ ])
  ) config.systemd.services;
  text = mkOption {
    type = types.lines;
    default = "";
  };
in
{
  options = {
    systemd = {
      services = mkOption {
        type = types.attrsOf (types.submodule service);
        default = { };
      };
      targets = mkOption {
        type = types.attrsOf (types.submodule unit);
        default = { };
      };
      sockets = mkOption {
        type = types.attrsOf (types.submodule unit);
        default = { };
      };
      tmpfiles.rules = list types.str;
      extraConfig = text;
      settings.Manager = anything { };
      network.enable = flag false;
      network.wait-online.enable = flag true;
      oomd.enable = flag true;
    };
    services = {
      getty.autologinUser = mkOption {
        type = types.nullOr types.str;
        default = null;
      };
      journald.extraConfig = text;
      logrotate.enable = flag true;
      openssh.enable = flag false;
      qemuGuest.enable = flag false;
      timesyncd.enable = flag true;
      udev.enable = flag true;
      udev.extraRules = text;
    };
    security.polkit.enable = flag false;
  };
  config.system.build.services = lib.mapAttrs run started;
}
