# The system as a derivation, with an init that boots.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  text = mkOption {
    type = types.lines;
    default = "";
  };
  string =
    default:
    mkOption {
      type = types.str;
      inherit default;
    };
  failed = map (assertion: assertion.message) (
    lib.filter (assertion: !assertion.assertion) config.assertions
  );
  checked =
    system:
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
    else
      lib.foldr lib.warn system config.warnings;
  activation = lib.concatMapStrings (
    script: (if builtins.isString script then script else script.text) + "\n"
  ) (builtins.attrValues config.system.activationScripts);
  set =
    name: value:
    let
      number = if builtins.isBool value then (if value then 1 else 0) else value;
    in
    lib.optionalString (value != null) "sysctl -w ${lib.escapeShellArg "${name}=${toString number}"}\n";
in
{
  options.system = {
    build = mkOption {
      type = types.lazyAttrsOf types.unspecified;
      default = { };
    };
    name = string (if config.networking.hostName == "" then "unnamed" else config.networking.hostName);
    stateVersion = string lib.trivial.release;
    systemBuilderCommands = text;
    extraDependencies = mkOption {
      type = types.listOf types.pathInStore;
      default = [ ];
    };
    activationScripts = mkOption {
      type = types.attrsOf (types.either types.str types.attrs);
      default = { };
    };
    switch.enable = mkOption {
      type = types.bool;
      default = true;
    };
    nixos = {
      label = string "stub";
      release = string lib.trivial.release;
      revision = mkOption {
        type = types.nullOr types.str;
        default = null;
      };
      version = string lib.trivial.version;
      versionSuffix = string "stub";
    };
  };

  config.system.build = {
    init = pkgs.writeScript "init" ''
      #!${pkgs.busybox}/bin/sh
      # PID 1, in a root whose first programs were not those of this system.
      export PATH=/run/current-system/sw/bin:${pkgs.busybox}/bin
      system=''${0%/init}
      mounted() { grep -q " $1 " /proc/mounts 2>/dev/null; }
      mkdir -p /proc /sys /dev /run /tmp /etc /bin /usr/bin /var/lib /var/log /root /home
      mounted /proc || mount -t proc proc /proc
      mounted /sys || mount -t sysfs sys /sys
      mounted /dev || mount -t devtmpfs dev /dev
      mkdir -p /dev/pts /dev/shm
      mounted /dev/pts || mount -t devpts devpts /dev/pts
      mounted /dev/shm || mount -t tmpfs -o mode=1777 tmpfs /dev/shm
      mounted /run || mount -t tmpfs -o mode=0755 tmpfs /run
      mounted /tmp || mount -t tmpfs -o mode=1777 tmpfs /tmp
      test -e /dev/fd || ln -s /proc/self/fd /dev/fd

      ln -sfn "$system" /run/current-system
      ln -sfn "$system" /run/booted-system
      ln -sfn "$system/etc" /etc/static
      (cd "$system/etc" && find . ! -type d) | while read -r file; do
          mkdir -p "$(dirname "/etc/$file")"
          ln -sfn "/etc/static/''${file#./}" "/etc/$file"
      done
      ln -sfn ${pkgs.bash}/bin/sh /bin/sh
      ln -sfn ${pkgs.busybox}/bin/env /usr/bin/env
      test ! -e /etc/hostname || hostname -F /etc/hostname
      ip link set lo up
      ${config.system.build.cards}
      ${lib.concatStrings (lib.mapAttrsToList set config.boot.kernel.sysctl)}
      ${lib.concatMapStrings ({ mountPoint, ... }: "mkdir -p ${mountPoint}\n") (
        builtins.attrValues config.fileSystems
      )}
      ${activation}
      ${config.boot.postBootCommands}

      # What busybox's poweroff, reboot and the keys ctrl-alt-delete say to PID 1.
      trap 'sync; poweroff -f' USR1 USR2
      trap 'sync; reboot -f' TERM INT
      echo 0 > /proc/sys/kernel/ctrl-alt-del
      ${lib.concatStrings (
        lib.mapAttrsToList (
          _name: script: "setsid ${script} > /dev/console 2>&1 < /dev/null &\n"
        ) config.system.build.services
      )}
      echo "stage 2 is done" > /dev/console
      # Without a child, there would be nothing to wait for, and signals would not be heard.
      sleep 2147483647 &
      while :; do wait; done
    '';

    toplevel = checked (
      pkgs.runCommand "nixos-system-${config.system.name}-stub"
        {
          preferLocalBuild = true;
          inherit (config.system) extraDependencies;
          passthru = { inherit config; };
        }
        ''
          mkdir $out
          cp ${config.system.build.init} $out/init
          ln -s ${config.system.build.etc} $out/etc
          ln -s ${config.system.path} $out/sw
          echo -n ${lib.escapeShellArg config.system.nixos.label} > $out/nixos-version
          echo -n ${pkgs.stdenv.hostPlatform.system} > $out/system
          echo -n ${lib.escapeShellArg (toString config.boot.kernelParams)} > $out/kernel-params
          ${lib.optionalString config.boot.kernel.enable ''
            ln -s ${config.boot.kernelPackages.kernel}/${config.system.boot.loader.kernelFile} $out/kernel
            ln -s ${config.system.modulesTree} $out/kernel-modules
          ''}
          ${config.system.systemBuilderCommands}
        ''
    );
  };
}
