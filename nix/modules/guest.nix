# A NixOS that starts fast as a machine of attest. With `attest.guest.boot = "attest"` the agent is there already: it is
# PID 1 of the initramfs, mounts the root, sets name and addresses, and hands over to this system's init.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkIf
    mkMerge
    mkOption
    types
    ;
  cfg = config.attest.guest;
  isBootedByAttest = cfg.boot == "attest";

  noInitrd = pkgs.runCommand "no-initrd" { } ''
    mkdir -p $out/bin
    touch $out/${config.system.boot.loader.initrdFile or "initrd"} $out/bin/append-initrd-secrets
  '';

  # The root, the store and what QEMU's scripts share with the host: none of it is mounted by the system.
  isOfTest =
    place: fileSystem:
    !(builtins.elem place [
      "/"
      "/nix/store"
      "/nix/.ro-store"
      "/nix/.rw-store"
    ])
    && !(builtins.elem fileSystem.fsType [
      "9p"
      "virtiofs"
    ]);

  ifDeclared = path: lib.optionalAttrs (lib.hasAttrByPath path options);
in
{
  imports = [
    ./agent-unit.nix
    ./ready.nix
  ];

  options.attest.guest = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether this system is made for machines of attest.";
    };

    boot = mkOption {
      type = types.enum [
        "attest"
        "own"
      ];
      default = "attest";
      description = ''
        Who boots the system: `"attest"`: attest's kernel and initramfs, so that there is no boot loader and no initrd;
        `"own"`: the system's own boot loader and initrd, and the agent is a unit.
      '';
    };

    console = mkOption {
      type = types.str;
      default = "ttyS0";
      description = "The serial console, which attest records.";
    };

    journalToConsole = mkOption {
      type = types.bool;
      default = true;
      description = "Whether services log to the console too, where tests wait for their lines.";
    };

    nixDatabase = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether Nix in this system knows the paths of its store, so that it can build and copy. It takes a
        second of the boot, and more where instructions are translated.
      '';
    };

    fastBoot = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether to leave out what a machine of a test has no use for: manuals, log-in prompts, the search for
        the time, waits for addresses that are set already.
      '';
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      boot.kernelParams = [ "console=${cfg.console}" ];

      # The agent names and addresses them before, by their hardware addresses.
      networking.usePredictableInterfaceNames = false;

      # A prompt would take what is written to the console for input.
      systemd.services."serial-getty@${cfg.console}".enable = false;
    }

    (mkIf cfg.journalToConsole (
      ifDeclared [ "services" "journald" "extraConfig" ] {
        services.journald.extraConfig = ''
          ForwardToConsole=yes
          TTYPath=/dev/${cfg.console}
          MaxLevelConsole=info
        '';
      }
    ))

    (mkIf isBootedByAttest {
      # NixOS's second stage is what the agent hands over to. With systemd in the first one, `init` would be systemd
      # itself, and nobody would activate the system.
      boot.initrd.enable = lib.mkForce false;
      boot.initrd.systemd.enable = lib.mkForce false;
      boot.loader.grub.enable = lib.mkForce false;

      # A system with a kernel links its initrd also where it has none (kernel.nix), and qemu-vm.nix names it.
      system.build = {
        initialRamdisk = noInitrd;
        initialRamdiskSecretAppender = noInitrd;
      };

      # `virtualisation.fileSystems` has the priority 10.
      fileSystems = lib.mkOverride 9 (
        {
          # The image of the store, and what is written above it: mounted already.
          "/" = {
            device = "attest";
            fsType = "overlay";
          };
        }
        // lib.filterAttrs isOfTest (config.virtualisation.fileSystems or { })
      );
      swapDevices = lib.mkOverride 9 [ ];
    })

    (mkIf cfg.nixDatabase {
      boot.postBootCommands = "${config.nix.package.out}/bin/nix-store --load-db < /nix-path-registration";
    })

    (mkIf cfg.fastBoot {
      documentation.enable = lib.mkDefault false;
      # The host sets the clock.
      services.timesyncd.enable = lib.mkOverride 900 false;
      services.logrotate.enable = lib.mkOverride 900 false;
      networking.useDHCP = lib.mkOverride 900 false;
    })
  ]);
}
