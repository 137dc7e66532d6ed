# What attest looks for on PATH: only what this test needs, for each package brings its closure into the sandbox.
{
  config,
  lib,
  hostPkgs,
  ...
}:
let
  machines = builtins.attrValues config.allMachines;
  isUsed = backend: builtins.any (machine: machine.attest.backend == backend) machines;
  isScript = body: body.script != null;
  isPython =
    builtins.any isScript (builtins.attrValues config.tests)
    || builtins.any isScript (builtins.attrValues config.setups);

  inherit (hostPkgs) python3;
  # An environment is a derivation more, with a link for each file.
  python =
    if config.extraPythonPackages python3.pkgs == [ ] then
      python3
    else
      python3.withPackages config.extraPythonPackages;

  isOnDisk = builtins.any (machine: !(machine.virtualisation.writableStoreUseTmpfs or true)) machines;
in
{
  programs =
    lib.optional (isUsed "qemu") config.qemu.package
    ++ lib.optional (isUsed "firecracker") hostPkgs.firecracker
    ++ lib.optional (isUsed "cloud-hypervisor") hostPkgs.cloud-hypervisor
    ++ lib.optionals (isUsed "nspawn") [
      hostPkgs.systemd
      hostPkgs.util-linux
    ]
    ++ lib.optional isPython python
    ++ lib.optional isOnDisk hostPkgs.e2fsprogs;
}
