# What is wrong with one node.
{ lib, config }:
node:
let
  inherit (node.attest) backend;
  isContainer = backend == "nspawn";
  when = lib.optional;

  cards = import ./cards.nix {
    inherit lib;
    config = node;
  };
  vlans = map (card: card.vlan) cards;
  far = builtins.filter (vlan: vlan > 255) vlans;
  macs = map (card: card.mac) cards;
  sameMacs = builtins.filter (mac: lib.count (each: each == mac) macs > 1) macs;

  ofNetwork =
    map (vlan: "virtualisation.vlans: ${toString vlan} is more than 255, and no part of an address") far
    ++
      when (far == [ ] && sameMacs != [ ])
        "virtualisation.vlans, virtualisation.interfaces: two cards are on the same VLAN, and would have the same hardware address, ${builtins.head sameMacs}";

  ofBackend =
    when (isContainer && !node.boot.isContainer)
      "attest.backend: `nspawn` runs containers; declare the machine in `containers`, or set `boot.isContainer = true`"
    ++
      when (!isContainer && node.boot.isContainer)
        "boot.isContainer: a container has no kernel for `${backend}`; write `attest.backend = \"nspawn\"`"
    ++
      when (isContainer && config.snapshots != false)
        "attest.backend: processes of a container cannot be saved, as `snapshots` would have it; write `snapshots = false`"
    ++ when (
      builtins.elem backend [
        "firecracker"
        "cloud-hypervisor"
      ]
      && config.qemu.forceAccel == "tcg"
    ) "attest.backend: `${backend}` runs on KVM alone, and `qemu.forceAccel` is `\"tcg\"`";

  ofSystem = when (
    !(node.system.build ? toplevel)
  ) "system.build.toplevel: there is none, so that there is no init to hand over to";

  ofKernel = lib.optionals (!isContainer && ofBackend == [ ]) (
    if !(node.boot.kernel.enable or true) then
      [ "boot.kernel.enable: a node on `${backend}` boots a kernel; write `boot.kernel.enable = true`" ]
    else
      import ./kernel-config.nix { inherit lib backend; } node.boot.kernelPackages.kernel
  );

  ofRefusals = map (
    refusal: "${refusal.option}: the backend `${backend}` cannot do it: ${refusal.text}"
  ) node.attest.problems;
in
ofRefusals ++ ofNetwork ++ ofBackend ++ ofSystem ++ ofKernel
