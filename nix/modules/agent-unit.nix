# The agent as a unit, for systems that attest does not boot: from the first moment on that the port is there.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.attest.guest.agent;
  # The port by which the host finds it (attest-vmm).
  port = "/dev/virtio-ports/attest.0";
in
{
  options.attest.guest.agent = {
    package = mkOption {
      type = types.nullOr types.package;
      default = null;
      defaultText = lib.literalExpression "null";
      description = "The package with `bin/attest-agent`: `attest.packages.x86_64-linux.default`.";
    };

    unit.enable = mkOption {
      type = types.bool;
      default = config.attest.guest.enable && config.attest.guest.boot == "own";
      defaultText = lib.literalExpression ''attest.guest.boot == "own"'';
      description = ''
        Whether the agent is a unit of the system. Where attest boots the system, its initramfs has brought the
        agent.
      '';
    };
  };

  config = lib.mkIf cfg.unit.enable {
    assertions = [
      {
        assertion = cfg.package != null;
        message = "attest.guest.agent.unit.enable: there is no agent; set `attest.guest.agent.package` to attest's package.";
      }
    ];

    systemd.services.attest-agent = {
      description = "Agent of attest";
      wantedBy = [ "sysinit.target" ];
      before = [ "sysinit.target" ];
      unitConfig = {
        # It is there to look at what fails in the boot.
        DefaultDependencies = false;
        ConditionPathExists = port;
      };
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/attest-agent --device ${port}";
        Restart = "always";
        # Commands of tests are its children, and end with it only when the machine does.
        KillMode = "process";
        OOMScoreAdjust = -1000;
      };
    };

    # The port is a device of a module, and its name a link that udev makes.
    services.udev.extraRules = ''
      SUBSYSTEM=="virtio-ports", ATTR{name}=="attest.0", TAG+="systemd", ENV{SYSTEMD_WANTS}+="attest-agent.service"
    '';
  };
}
