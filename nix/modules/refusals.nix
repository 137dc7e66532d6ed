# Options of a node that its backend cannot do, by name, with what to do instead. What has no use under attest and does
# no harm (`graphics`, `msize`, `restrictNetwork`: nodes reach nothing outside anyhow) is not here.
{
  lib,
  options,
  config,
}:
let
  inherit (config.attest) backend;

  # NixOS's own modules define some of them for QEMU's script; what counts is what the test says.
  ours = [
    "/nixos/modules/virtualisation/qemu-vm.nix"
    "/nixos/modules/profiles/qemu-guest.nix"
    "/nixos/modules/virtualisation/nspawn-container"
  ];
  isOurs = definition: builtins.any (part: lib.hasInfix part (toString (definition.file or ""))) ours;

  values =
    path:
    let
      option = lib.attrByPath path { } options;
      given = builtins.filter (definition: !isOurs definition) (option.definitionsWithLocations or [ ]);
    in
    map (definition: definition.value) given;

  isTrue = builtins.any (value: value == true);
  isFalse = builtins.any (value: value == false);
  isNotNull = builtins.any (value: value != null);
  isNotEmpty = builtins.any (
    value:
    !builtins.elem value [
      [ ]
      { }
    ]
  );
  isGiven = list: list != [ ];
  isScsi = builtins.any (value: value == "scsi");

  everywhere = {
    sharedDirectories = [
      isNotEmpty
      "no directory of the host is shared with a node. Put files into it by `environment.etc`, or copy them in the script: `node.copy_from_host(…)`."
    ];
    forwardPorts = [
      isNotEmpty
      "nothing of the host reaches a node. Forward a port in the script: `node.forward_port(…)`."
    ];
    "qemu.options" = [
      isNotEmpty
      "attest starts QEMU by itself. Disks are given by `virtualisation.emptyDiskImages`, cards by `virtualisation.vlans`."
    ];
    "qemu.drives" = [
      isNotEmpty
      "attest gives a node its disks by itself. Write `virtualisation.emptyDiskImages`."
    ];
    "qemu.networkingOptions" = [
      isNotEmpty
      "attest gives a node its cards by itself. Write `virtualisation.vlans` or `virtualisation.interfaces`."
    ];
    "qemu.diskInterface" = [
      isScsi
      "disks are virtio. Leave it out."
    ];
    "qemu.guestAgent.enable" = [
      isTrue
      "there is no port for QEMU's guest agent. attest's own agent does the same."
    ];
    useBootLoader = [
      isTrue
      "attest starts the kernel by itself, without a boot loader. Keep this test on NixOS's driver: with attest's overlay, `pkgs.testers.runNixOSTest`."
    ];
    useEFIBoot = [
      isTrue
      "attest starts the kernel by itself, without firmware. Keep this test on NixOS's driver: with attest's overlay, `pkgs.testers.runNixOSTest`."
    ];
    useSecureBoot = [
      isTrue
      "attest starts the kernel by itself, without firmware. Keep this test on NixOS's driver: with attest's overlay, `pkgs.testers.runNixOSTest`."
    ];
    bios = [
      isNotNull
      "attest starts the kernel by itself, without firmware. Leave it out."
    ];
    "tpm.enable" = [
      isTrue
      "nodes have no TPM. Keep this test on NixOS's driver: with attest's overlay, `pkgs.testers.runNixOSTest`."
    ];
    "directBoot.enable" = [
      isFalse
      "attest always starts the kernel by itself. Leave it out."
    ];
    "directBoot.initrd" = [
      isGiven
      "nodes start with attest's initramfs, not with one of their own. Leave it out."
    ];
    useDefaultFilesystems = [
      isFalse
      "attest mounts the root by itself. Write other file systems into `virtualisation.fileSystems`, on `virtualisation.emptyDiskImages`."
    ];
    useHostCerts = [
      isTrue
      "nothing of the host is shared with a node. Write `security.pki.certificateFiles`."
    ];
    bootDevice = [
      isGiven
      "attest mounts the root by itself. Leave it out."
    ];
    rootDevice = [
      isNotNull
      "attest mounts the root by itself. Leave it out."
    ];
  };

  inContainers = {
    emptyDiskImages = [
      isNotEmpty
      "a container has no disks. Write `attest.backend = \"qemu\"`."
    ];
  };

  refusal =
    name: entry:
    let
      path = [ "virtualisation" ] ++ lib.splitString "." name;
    in
    lib.optional ((builtins.elemAt entry 0) (values path)) {
      option = "virtualisation.${name}";
      text = builtins.elemAt entry 1;
    };

  ofTable = table: builtins.concatLists (lib.mapAttrsToList refusal table);
in
ofTable everywhere
++ lib.optionals (backend == "nspawn") (ofTable inContainers)
++ lib.optional (config.testing.initrdBackdoor) {
  option = "testing.initrdBackdoor";
  text = "nodes start with attest's initramfs, not with one of their own. Keep this test on NixOS's driver: with attest's overlay, `pkgs.testers.runNixOSTest`.";
}
++ lib.optional (backend == "firecracker" && config.virtualisation.cores > 32) {
  option = "virtualisation.cores";
  text = "Firecracker has at most 32 processors.";
}
