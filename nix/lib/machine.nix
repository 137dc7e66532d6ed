# What a node is for attest: its machine and its image in the manifest, and the files that it boots.
{
  lib,
  build,
  # The test's option `qemu.forceAccel`.
  forceAccel,
}:
name: node:
let
  names = import ./names.nix;
  inherit (node) virtualisation;
  inherit (node.attest) backend;
  isVirtual = backend != "nspawn";

  cards = import ./cards.nix {
    inherit lib;
    config = node;
  };

  inherit (node.boot.kernelPackages) kernel;
  file = node.system.boot.loader.kernelFile;

  vmlinux = import ../image/kernel.nix { inherit build; } { inherit kernel file; };
  initrd = import ../image/initrd.nix { inherit build; } {
    inherit kernel file;
    modules = node.system.modulesTree;
    release = kernel.modDirVersion or null;
  };

  # A path of the image, which brings it: were it an input of the test, all of the system would be.
  forget = builtins.unsafeDiscardStringContext;

  # attest says itself what the root and the init are.
  isOfUs = argument: !lib.hasPrefix "root=" argument && !lib.hasPrefix "init=" argument;

  network = card: {
    network = "vlan${toString card.vlan}";
    address = if card.assignIP then card.ipv4 else "none";
    address6 = if card.assignIP then card.ipv6 else "none";
    inherit (card) mac;
    interface = card.name;
  };

  accelerator = if forceAccel == true then "kvm" else forceAccel;

  # A number of megabytes, or in newer NixOS a set with one.
  disk = each: { size = "${toString (each.size or each)}M"; };
in
{
  inherit name;
  host = names.host name;
  inherit backend isVirtual;
  closure = [ node.system.build.toplevel ] ++ virtualisation.additionalPaths;
  vlans = map (card: card.vlan) cards;

  image = {
    init = forget "${node.system.build.toplevel}/init";
    inherit (node.attest.guest) ready;
  }
  // lib.optionalAttrs isVirtual {
    kernel = "${vmlinux}/vmlinux";
    initrd = "${initrd}/initrd";
  };

  machine = {
    image = names.host name;
    inherit backend;
    memory = "${toString virtualisation.memorySize}M";
    vcpus = virtualisation.cores;
    networks = map network cards;
  }
  // lib.optionalAttrs isVirtual {
    disks = map disk virtualisation.emptyDiskImages;
    kernel-arguments = map forget (builtins.filter isOfUs node.boot.kernelParams);
  }
  // lib.optionalAttrs (backend == "qemu" && accelerator != false) { inherit accelerator; }
  # A store that the node writes to on its disk, not into its memory.
  // lib.optionalAttrs (isVirtual && !(virtualisation.writableStoreUseTmpfs or true)) {
    copy-on-write = "disk";
  };
}
