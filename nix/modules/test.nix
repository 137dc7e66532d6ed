# What every node of a test has. It stands on the options of NixOS's virtual machines (qemu-vm.nix), and takes the
# place of what NixOS's own tests put into nodes for their driver (test-instrumentation.nix).
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  ifDeclared = path: lib.optionalAttrs (lib.hasAttrByPath path options);
  systemdSettings = {
    # Slow builders are no failures.
    DefaultTimeoutStartSec = 300;
    DefaultDeviceTimeoutSec = 300;
  };
in
{
  imports = [ ./guest.nix ];

  options = {
    attest.backend = mkOption {
      type = types.enum [
        "qemu"
        "firecracker"
        "cloud-hypervisor"
        "nspawn"
      ];
      default = "qemu";
      description = "How this node runs. In a test, its option `backend` is the default.";
      example = "firecracker";
    };

    attest.problems = mkOption {
      type = types.listOf types.raw;
      internal = true;
      readOnly = true;
      description = "What of this configuration its backend cannot do.";
      default = import ./refusals.nix { inherit lib options config; };
    };

    attest.diskLimit = mkOption {
      type = types.nullOr types.int;
      internal = true;
      readOnly = true;
      description = ''
        How large the image of the store may be, in megabytes: `virtualisation.diskSize`, where somebody set it.
      '';
      # What nobody set is the disk of QEMU's script, which has the store elsewhere.
      default =
        if (options.virtualisation.diskSize.highestPrio or 1500) < 1500 then
          config.virtualisation.diskSize
        else
          null;
    };

    # Those of test-instrumentation.nix.
    testing.initrdBackdoor = mkOption {
      type = types.bool;
      default = false;
      description = "As in NixOS: stop in the initrd. Nodes of attest have none.";
    };
    testing.backdoor = mkOption {
      type = types.bool;
      default = true;
      description = "As in NixOS. attest's agent takes the place of the root shell.";
    };
  };

  config = lib.mkMerge [
    {
      documentation.nixos.enable = lib.mkOverride 150 false;

      # An out-of-memory kill is a failure that nobody sees; a panic is one that attest names.
      boot.kernel.sysctl = {
        "kernel.hung_task_timeout_secs" = 600;
        "vm.panic_on_oom" = lib.mkDefault 2;
      };
      boot.kernelParams = [ "panic=1" ];

      networking.defaultGateway = lib.mkOverride 150 null;
      networking.nameservers = lib.mkOverride 150 [ ];

      # A file, for an empty text is no password of systemd's credentials.
      users.users.root.hashedPasswordFile = lib.mkOverride 150 "${pkgs.writeText "hashed-password.root" ""}";

      system.stateVersion = lib.mkDefault lib.trivial.release;

      # Another revision of nixpkgs is no other test.
      system.nixos = {
        revision = lib.mkForce "constant-nixos-revision";
        versionSuffix = lib.mkForce "test";
        label = lib.mkForce "test";
      };
    }

    # Newer NixOS has `settings`, and refuses the text.
    (
      if lib.hasAttrByPath [ "systemd" "settings" "Manager" ] options then
        { systemd.settings.Manager = systemdSettings; }
      else
        ifDeclared [ "systemd" "extraConfig" ] {
          systemd.extraConfig = ''
            DefaultTimeoutStartSec=${toString systemdSettings.DefaultTimeoutStartSec}
            DefaultDeviceTimeoutSec=${toString systemdSettings.DefaultDeviceTimeoutSec}
          '';
        }
    )
  ];
}
