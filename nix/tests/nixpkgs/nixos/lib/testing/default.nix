# A test of systems, as NixOS has them: start scripts of all nodes, and a driver that is told of them in JSON.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (config) hostPkgs;
  option = type: default: mkOption { inherit type default; };

  baseSystem = import ../eval-config.nix {
    inherit lib;
    system = null;
    inherit (config.node) specialArgs;
    modules = [
      config.defaults
      config.extraBaseModules
      ../../modules/virtualisation/qemu-vm.nix
      ../../modules/testing/test-instrumentation.nix
      network
      {
        key = "nodes";
        _module.args.nodes = config.nodes;
        virtualisation.qemu.package = config.qemu.package;
        virtualisation.host.pkgs = hostPkgs;
        boot.initrd.enable = false;
        boot.loader.grub.enable = false;
      }
      (lib.optionalAttrs (config.node.pkgs != null) {
        imports = [ ../../modules/misc/nixpkgs/read-only.nix ];
        nixpkgs.pkgs = config.node.pkgs;
      })
    ];
  };

  number = name: lib.findFirstIndex (other: other == name) 0 (builtins.attrNames config.nodes) + 1;
  # Addresses and names, by the numbers of the VLANs and of the nodes.
  network =
    { name, config, ... }:
    let
      own = number name;
      hex = value: lib.toLower (lib.fixedWidthString 2 "0" (lib.toHexString value));
      cards = lib.imap1 (n: vlan: {
        card = "eth${toString n}";
        inherit vlan;
        address = "192.168.${toString vlan}.${toString own}";
      }) config.virtualisation.vlans;
    in
    {
      options.virtualisation.test = {
        nodeName = option types.str name;
        nodeNumber = option types.int own;
      };
      config.networking = {
        hostName = lib.mkDefault name;
        interfaces = lib.listToAttrs (
          map (
            { card, address, ... }:
            lib.nameValuePair card {
              ipv4.addresses = [
                {
                  inherit address;
                  prefixLength = 24;
                }
              ];
            }
          ) cards
        );
        primaryIPAddress = lib.optionalString (cards != [ ]) (builtins.head cards).address;
        extraHosts = lib.concatStrings (
          lib.mapAttrsToList (
            _name: node:
            lib.optionalString (
              node.networking.primaryIPAddress != ""
            ) "${node.networking.primaryIPAddress} ${node.networking.hostName}\n"
          ) nodes
        );
      };
      config.virtualisation.qemu.networkingOptions = [
        "-device virtio-net-pci,netdev=user.0"
        "-netdev user,id=user.0,restrict=on,\"$QEMU_NET_OPTS\""
      ]
      ++ lib.concatLists (
        lib.imap1 (
          n:
          { vlan, ... }:
          [
            "-device virtio-net-pci,netdev=vlan${toString n},mac=52:54:00:12:${hex vlan}:${hex own}"
            "-netdev vde,id=vlan${toString n},sock=\"$QEMU_VDE_SOCKET_${toString vlan}\""
          ]
        ) cards
      );
    };
  inherit (config) nodes;

  driverArguments = {
    inherit (config) enableOCR extraPythonPackages;
    qemu_pkg = config.qemu.package;
  };
  # nixpkgs had no name for the driver, which was only here, and was told of the machines by its environment.
  isOlder = hostPkgs.config.older or false;
  testDriver =
    if isOlder then
      hostPkgs.callPackage ../test-driver driverArguments
    else
      config.pythonTestDriverPackage.override (driverArguments // { enableNspawn = false; });
  start = node: "${node.system.build.vm}/bin/run-${node.system.name}-vm";
  nodeList = builtins.attrValues config.nodes;
  vlans = lib.concatMap (node: node.virtualisation.vlans) nodeList;
  program =
    if isOlder then
      ''
        export startScripts="${toString (map start nodeList)}"
        export vlans="${toString vlans}"
        export testScript=${script}
        export globalTimeout=${toString config.globalTimeout}
        exec ${testDriver}/bin/nixos-test-driver ${toString config.extraDriverArgs} "$@"
      ''
    else
      ''
        exec ${testDriver}/bin/nixos-test-driver --config ${configuration} --log-level ${config.logLevel} ${toString config.extraDriverArgs} "$@"
      '';
  script = hostPkgs.writeText "test-script" config.testScriptString;
  configuration = hostPkgs.writeText "driver-configuration.json" (
    builtins.toJSON {
      vms = lib.mapAttrs (_: node: {
        name = node.system.name;
        start_script = start node;
      }) config.nodes;
      containers = { };
      vlans = lib.unique vlans;
      global_timeout = config.globalTimeout;
      enable_ssh_backdoor = false;
      test_script = script;
    }
  );
in
{
  options = {
    name = mkOption { type = types.str; };
    nodes = option (types.lazyAttrsOf baseSystem.type) { };
    defaults = option types.deferredModule { };
    extraBaseModules = option types.deferredModule { };
    node.pkgs = option (types.nullOr types.pkgs) null;
    node.specialArgs = option (types.lazyAttrsOf types.raw) { };
    testScript = mkOption { type = types.either types.str (types.functionTo types.str); };
    testScriptString = mkOption { type = types.str; };
    hostPkgs = mkOption { type = types.raw; };
    qemu.package = option types.package hostPkgs.qemu_test;
    pythonTestDriverPackage = mkOption {
      type = types.package;
      default = hostPkgs.nixos-test-driver;
      readOnly = true;
    };
    enableOCR = option types.bool false;
    extraPythonPackages = option (types.functionTo (types.listOf types.package)) (_: [ ]);
    extraDriverArgs = option (types.listOf types.str) [ ];
    globalTimeout = option types.int 3600;
    logLevel = option (types.enum [
      "debug"
      "info"
      "warning"
      "error"
    ]) "info";
    skipLint = option types.bool false;
    skipTypeCheck = option types.bool false;
    meta = option types.attrs { };
    passthru = option (types.lazyAttrsOf types.raw) { };
    driver = mkOption { type = types.package; };
    test = mkOption { type = types.package; };
    result = mkOption { type = types.raw; };
  };
  config = {
    _module.args = {
      inherit hostPkgs;
      pkgs = hostPkgs;
      inherit (config) nodes;
    };
    testScriptString =
      if lib.isFunction config.testScript then
        config.testScript { inherit (config) nodes; }
      else
        config.testScript;
    driver = hostPkgs.runCommand "nixos-test-driver-${config.name}" { } ''
      mkdir -p $out/bin
      ln -s ${script} $out/test-script
      ln -s ${testDriver}/bin/nixos-test-driver $out/bin/.nixos-test-driver
      ${testDriver}/bin/generate-driver-symbols
      grep -q machines driver-symbols
      cp ${hostPkgs.writeScript "driver" "#!${hostPkgs.runtimeShell}\n${program}"} $out/bin/nixos-test-driver
      chmod 555 $out/bin/nixos-test-driver
    '';
    passthru = {
      inherit config;
      inherit (config) driver nodes;
    };
    test = hostPkgs.stdenv.mkDerivation {
      name = "vm-test-run-${config.name}";
      requiredSystemFeatures = [
        "nixos-test"
        "kvm"
      ];
      buildCommand = ''
        mkdir -p $out
        export LOGFILE=/dev/null
        ${config.driver}/bin/nixos-test-driver -o $out
      '';
      inherit (config) meta passthru;
    };
  };
}
