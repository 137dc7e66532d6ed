# What a builder has to have, beside `nixos-test`.
{ lib, config }:
let
  backends = map (machine: machine.attest.backend) (builtins.attrValues config.allMachines);
  isVirtual = builtins.any (backend: backend != "nspawn") backends;
in
lib.optional (isVirtual && config.qemu.forceAccel != "tcg") "kvm"
# Containers need users of their own in the sandbox.
++ lib.optional (builtins.elem "nspawn" backends) "uid-range"
