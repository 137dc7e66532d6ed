# A service that a test may have, in its options like NixOS's; busybox serves.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.nginx;
  root = (builtins.head (builtins.attrValues cfg.virtualHosts)).root;
in
{
  options.services.nginx = {
    enable = lib.mkEnableOption "a web server";
    virtualHosts = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule {
          options.root = mkOption {
            type = types.nullOr types.path;
            default = null;
          };
        }
      );
    };
  };
  config.systemd.services.nginx = lib.mkIf cfg.enable {
    wantedBy = [ "multi-user.target" ];
    serviceConfig.ExecStart = "${pkgs.busybox}/bin/httpd -f -p 80 -h ${root}";
  };
}
