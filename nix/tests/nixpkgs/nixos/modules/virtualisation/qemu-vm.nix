# A virtual machine of the configuration: its options, and a start script in the shape of NixOS's.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.virtualisation;
  hostPkgs = cfg.host.pkgs;
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  option = type: default: mkOption { inherit type default; };
  strings = option (types.listOf types.str) [ ];

  modules = [
    "virtio_pci"
    "virtio_console"
    "net_failover"
    "virtio_net"
    "virtio_blk"
    "virtio_rng"
  ];
  # The closure of the system, without its kernel, is all that the machine's root has.
  initrd =
    pkgs.runCommand "initrd-${config.system.name}"
      {
        closure = pkgs.closureInfo { rootPaths = [ config.system.build.toplevel ]; };
        tree = config.system.modulesTree;
        release = config.boot.kernelPackages.kernel.modDirVersion;
        begin = ''
          #!${pkgs.busybox}/bin/sh
          export PATH=${pkgs.busybox}/bin
          # In whatever order they need each other.
          for pass in 1 2 3 4; do
              for file in /modules/*; do insmod $file 2> /dev/null; done
          done
          exec ${config.system.build.toplevel}/init
        '';
        passAsFile = [ "begin" ];
      }
      ''
        mkdir -p root/nix/store $out
        cp "$beginPath" root/init
        chmod 755 root/init
        for path in $(grep -v -e '-linux-' -e '-kernel-modules$' $closure/store-paths); do
            cp -a "$path" root/nix/store/
        done
        mkdir root/modules
        list=$tree/lib/modules/$release/modules.dep
        for module in ${toString modules}; do
            for file in $(grep "/$module\.ko[^ ]*:" $list | tr -d :); do
                test -e root/modules/$(basename $file) || cp -L "$tree/lib/modules/$release/$file" root/modules/
            done
        done
        cd root
        find . | cpio -o -H newc > $out/initrd
      '';

  cards = lib.concatStringsSep " " cfg.qemu.networkingOptions;
  vm = hostPkgs.writeScriptBin "run-${config.system.name}-vm" ''
    #!${hostPkgs.runtimeShell}
    export PATH=${lib.makeBinPath [ hostPkgs.coreutils ]}''${PATH:+:}$PATH
    set -e
    if test -z "$TMPDIR" || test -z "$USE_TMPDIR"; then
        TMPDIR=$(mktemp -d -t stub-vm.XXXXXXXXXX)
    fi
    cd "$TMPDIR"
    exec ${cfg.qemu.package}/bin/qemu-system-x86_64 \
        -machine accel=kvm:tcg -cpu max \
        -name ${config.system.name} \
        -m ${toString cfg.memorySize} \
        -smp ${toString cfg.cores} \
        -device virtio-rng-pci \
        ${cards} \
        -kernel ${config.boot.kernelPackages.kernel}/${config.system.boot.loader.kernelFile} \
        -initrd ${initrd}/initrd \
        -append "${toString config.boot.kernelParams} console=ttyS0 panic=1 quiet $QEMU_KERNEL_PARAMS" \
        ${lib.concatStringsSep " " cfg.qemu.options} \
        $QEMU_OPTS \
        "$@"
  '';
in
{
  options.virtualisation = {
    memorySize = option types.ints.positive 1024;
    cores = option types.ints.positive 1;
    diskSize = option (types.either (types.enum [ "auto" ]) types.ints.positive) 1024;
    diskImage = option (types.nullOr types.str) "./${config.system.name}.qcow2";
    msize = option types.ints.positive 16384;
    emptyDiskImages = option (types.listOf (
      types.coercedTo types.ints.positive (size: { inherit size; }) (
        types.submodule {
          options = {
            size = mkOption { type = types.ints.positive; };
            driveConfig = option types.attrs { };
          };
        }
      )
    )) [ ];
    vlans = option (types.listOf types.ints.unsigned) (
      if config.virtualisation.interfaces == { } then [ 1 ] else [ ]
    );
    interfaces = option (types.attrsOf (
      types.submodule {
        options = {
          vlan = mkOption { type = types.ints.unsigned; };
          assignIP = flag false;
        };
      }
    )) { };
    sharedDirectories = option (types.attrsOf (
      types.submodule {
        options = {
          source = mkOption { type = types.str; };
          target = mkOption { type = types.path; };
          securityModel = option types.str "mapped-xattr";
        };
      }
    )) { };
    additionalPaths = option (types.listOf types.path) [ ];
    forwardPorts = option (types.listOf (
      types.submodule {
        options = {
          from = option (types.enum [
            "host"
            "guest"
          ]) "host";
          proto = option (types.enum [
            "tcp"
            "udp"
          ]) "tcp";
          host.address = option types.str "";
          host.port = mkOption { type = types.port; };
          guest.address = option types.str "";
          guest.port = mkOption { type = types.port; };
        };
      }
    )) [ ];
    restrictNetwork = flag false;
    writableStore = flag cfg.mountHostNixStore;
    writableStoreUseTmpfs = flag true;
    useNixStoreImage = flag false;
    mountHostNixStore = flag (!cfg.useNixStoreImage && !cfg.useBootLoader);
    useBootLoader = flag false;
    useEFIBoot = flag false;
    useSecureBoot = flag false;
    useDefaultFilesystems = flag true;
    useHostCerts = flag false;
    graphics = flag true;
    tpm.enable = flag false;
    bios = option (types.nullOr types.package) null;
    rootDevice = option (types.nullOr types.path) "/dev/vda";
    fileSystems = option (types.attrsOf types.attrs) { };
    resolution = option types.attrs {
      x = 1024;
      y = 768;
    };
    directBoot.enable = flag (!cfg.useBootLoader);
    directBoot.initrd = option types.str "initrd";
    host.pkgs = mkOption {
      type = types.pkgs;
      default = pkgs;
    };
    qemu = {
      package = mkOption {
        type = types.package;
        default = hostPkgs.qemu_kvm;
      };
      options = strings;
      networkingOptions = strings;
      consoles = option (types.listOf types.str) [
        "tty0"
        "ttyS0,115200n8"
      ];
      drives = option (types.listOf types.attrs) [ ];
      diskInterface = option (types.enum [
        "virtio"
        "scsi"
        "ide"
      ]) "virtio";
      guestAgent.enable = flag true;
      virtioKeyboard = flag true;
      enableSharedMemory = flag false;
    };
  };
  config.system.build.vm = vm;
}
