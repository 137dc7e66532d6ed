# Says when commands of tests may run: where the root shell of NixOS's own tests would be there. Before, the system has
# not even a shell.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.attest.guest;
in
{
  options.attest.guest.ready = lib.mkOption {
    type = lib.types.str;
    internal = true;
    readOnly = true;
    default = "/run/attest/ready";
    description = "The file for which attest waits before the first command.";
  };

  config = lib.mkIf (cfg.enable && cfg.boot == "attest") {
    systemd.services.attest-ready = {
      description = "Tell attest that commands may run";
      # And by that after basic.target.
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        RuntimeDirectory = "attest";
        # A switch to another configuration is no end.
        RuntimeDirectoryPreserve = true;
        ExecStart = "${pkgs.coreutils}/bin/touch ${cfg.ready}";
      };
    };
  };
}
