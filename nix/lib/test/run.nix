# How the test runs, and into which derivations it is split.
{
  config,
  lib,
  hostPkgs,
  ...
}:
let
  inherit (lib) mkOption types;
in
{
  options = {
    backend = mkOption {
      type = types.enum [
        "qemu"
        "firecracker"
        "cloud-hypervisor"
        "nspawn"
      ];
      default = "qemu";
      description = "How nodes run. A node says otherwise by its option `attest.backend`.";
    };

    snapshots = mkOption {
      type = types.enum [
        false
        true
        "ready"
        "setups"
      ];
      default = false;
      description = ''
        What of the lab becomes derivations, which Nix keeps until what goes into them changes: `"ready"`: the lab when
        all its systems are up; `"setups"` or `true`: that, and what each set-up that tests begin with makes of it.
      '';
    };

    snapshotPacking = mkOption {
      type = types.enum [
        "lz4"
        "none"
      ];
      default = "lz4";
      description = ''
        How snapshots are packed: `none` restores faster, and takes longer to copy to other builders.
      '';
    };

    independent = mkOption {
      type = types.either types.bool (types.listOf (types.listOf types.str));
      default = false;
      description = ''
        Machines that never talk to each other, although they may have the same VLAN: each group becomes a derivation of
        its own. `true`: every machine is a group; a list of groups: these, and one of all others.
      '';
      example = [
        [
          "server"
          "client"
        ]
        [ "printer" ]
      ];
    };

    shards = mkOption {
      type = types.ints.positive;
      default = 1;
      description = "Into how many derivations the tests of a group are split.";
    };

    retries = mkOption {
      type = types.ints.unsigned;
      default = 0;
      description = ''
        How often a test that fails is tried again. One that passes then is called flaky in all reports.
      '';
    };

    infrastructureRetries = mkOption {
      type = types.ints.unsigned;
      default = 2;
      description = ''
        How often a shard is tried again within its derivation when something beneath the tests broke.
      '';
    };

    failures = mkOption {
      type = types.enum [
        "keep"
        "fail"
      ];
      default = "keep";
      description = ''
        What a failed test makes of its shard: `"keep"`: a derivation with the results in its output, so that only the
        test itself fails; `"fail"`: one that fails, as tests of NixOS do, and keeps nothing.
      '';
    };

    globalTimeout = mkOption {
      type = types.ints.positive;
      default = 3600;
      description = "How long a shard may take, in seconds, boots included.";
    };

    logLevel = mkOption {
      type = types.enum [
        "debug"
        "info"
        "warning"
        "error"
      ];
      default = "info";
      description = ''
        The least that the build log shows: `debug`: also consoles and commands; `warning`: only failures.
      '';
    };

    qemu.package = mkOption {
      type = types.raw;
      default = hostPkgs.qemu_test;
      defaultText = lib.literalExpression "hostPkgs.qemu_test";
      description = "The QEMU that nodes run on.";
    };

    qemu.forceAccel = mkOption {
      type = types.enum [
        false
        true
        "kvm"
        "tcg"
      ];
      default = false;
      description = ''
        What executes instructions of nodes on QEMU. `false`: KVM where it works, else translation; `true` or `"kvm"`: KVM
        or nothing; `"tcg"`: translation, and then builders need not have the feature `kvm`.
      '';
    };

    sshBackdoor.enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        As in NixOS. Nodes are reached without: `shell` and `exec` of the driver, through attest's agent.
      '';
    };

    sshBackdoor.vsockOffset = mkOption {
      type = types.ints.unsigned;
      default = 2;
      description = "As in NixOS, where it numbers sockets that attest has no use for.";
    };

    enableDebugHook = mkOption {
      type = types.bool;
      default = false;
      description = ''
        As in NixOS. attest keeps the lab of a failed test instead: `run --keep failed` of the driver.
      '';
    };

    rawTestDerivationArg = mkOption {
      type = types.functionTo types.raw;
      description = ''
        What derivations are made of: `name`, `meta` and `passthru` of the test, and `requiredSystemFeatures`
        and the environment of its shards.
      '';
    };

    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
      internal = true;
      description = "What is said when the test is evaluated.";
    };
  };

  config.warnings =
    lib.optional config.sshBackdoor.enable "`sshBackdoor.enable` does nothing: the driver's `shell NODE` opens a shell in every node"
    ++ lib.optional config.enableDebugHook "`enableDebugHook` does nothing: the driver's `run --keep failed` keeps the lab of a failed test to look into";
}
