# Programs. Some are the host's own, which its sandbox sees in /usr: only links, of no use in a guest.
{ lib, pkgs }:
let
  host = import ../host.nix;
  inherit (pkgs) runCommand;

  # Programs of the host.
  links =
    name: programs: attributes:
    lib.makeOverridable (
      _:
      runCommand name
        (
          {
            inherit programs;
          }
          // attributes
        )
        ''
          mkdir -p $out/bin
          for program in $programs; do
              ln -s /usr/bin/$program $out/bin/$program
          done
        ''
    ) { };
  # What busybox is in place of.
  fromBusybox =
    name: programs:
    runCommand name { inherit programs; } ''
      mkdir -p $out/bin
      for program in $programs; do
          ln -s ${pkgs.busybox}/bin/$program $out/bin/$program
      done
    '';
  qemu = links "qemu-stub" [ "qemu-system-x86_64" "qemu-img" ] {
    passthru.version = "9.0.0";
    meta.mainProgram = "qemu-system-x86_64";
  };

  pythonPackages = lib.makeExtensible (_: {
    buildPythonPackage =
      {
        pname,
        version ? "0",
        src,
        meta ? { },
        ...
      }:
      runCommand "python3-${pname}-${version}" { inherit meta src; } ''
        mkdir -p $out/lib
        if test -d $src/src; then cp -r $src/src $out/lib/site-packages; else cp -r $src $out/lib/site-packages; fi
      '';
    buildPythonApplication = pythonPackages.buildPythonPackage;
    toPythonModule = package: package;
    # One that is none of the host's.
    greeting = runCommand "python3-greeting" { } ''
      mkdir -p $out/lib/site-packages
      echo 'def greet(name): return f"hello {name}"' > $out/lib/site-packages/greeting.py
    '';
  });
  withPackages =
    choose:
    let
      packages = choose pythonPackages;
    in
    runCommand "python3-env" { meta.mainProgram = "python3"; } ''
      mkdir -p $out/bin
      ${
        if packages == [ ] then
          "ln -s /usr/bin/python3 $out/bin/python3"
        else
          ''
            printf '%s\n' '#!/bin/sh' \
                'export PYTHONPATH=${
                  lib.concatMapStringsSep ":" (package: "${package}/lib/site-packages") packages
                }' \
                'exec /usr/bin/python3 "$@"' > $out/bin/python3
            chmod 555 $out/bin/python3
          ''
      }
      ln -s python3 $out/bin/python
    '';
in
{
  busybox =
    runCommand "busybox"
      {
        digest = host.busybox;
        meta.mainProgram = "busybox";
      }
      ''
        mkdir -p $out/bin
        cp /host/busybox $out/bin/busybox
        for program in $(/host/busybox --list); do
            test "$program" = busybox || ln -s busybox $out/bin/$program
        done
      '';
  # Static: it runs in guests, too.
  bash =
    runCommand "bash"
      {
        digest = host.bash;
        meta.mainProgram = "bash";
      }
      ''
        mkdir -p $out/bin
        cp /host/bash $out/bin/bash
        ln -s bash $out/bin/sh
      '';
  runtimeShell = "${pkgs.bash}/bin/bash";

  coreutils = fromBusybox "coreutils" "basename cat chmod cp cut date dirname echo env false head id ln ls mkdir mktemp mv od printf pwd readlink realpath rm rmdir seq sha256sum sleep sort stat stty sync tail tee test timeout touch tr true truncate tty uname uniq wc base64";
  util-linux = fromBusybox "util-linux" "mount umount setsid";
  gnugrep = fromBusybox "gnugrep" "grep";
  gnused = fromBusybox "gnused" "sed";
  gawk = fromBusybox "gawk" "awk";
  findutils = fromBusybox "findutils" "find xargs";
  iproute2 = fromBusybox "iproute2" "ip";
  iputils = fromBusybox "iputils" "ping";
  kmod = fromBusybox "kmod" "modprobe insmod lsmod";
  gnutar = fromBusybox "gnutar" "tar";
  gzip = fromBusybox "gzip" "gzip";
  # With something to serve.
  hello = pkgs.writeShellScriptBin "hello" "echo Hello, world!";

  inherit qemu;
  qemu_test = qemu;
  qemu_kvm = qemu;
  vde2 = links "vde2" [ "vde_switch" ] { };
  socat = links "socat" [ "socat" ] { };
  openssh = links "openssh" [ "ssh" "scp" ] { };
  firecracker = links "firecracker" [ "firecracker" ] { };
  cloud-hypervisor = links "cloud-hypervisor" [ "cloud-hypervisor" ] { };
  virtiofsd = links "virtiofsd" [ "virtiofsd" ] { };
  e2fsprogs = links "e2fsprogs" [ "mkfs.ext4" ] { };
  erofs-utils = links "erofs-utils" [ "mkfs.erofs" ] { };
  tesseract = links "tesseract" [ "tesseract" ] { };
  tesseract4 = pkgs.tesseract;
  netpbm = links "netpbm" [ "pnmtopng" ] { };
  systemd = links "systemd" [ "systemd-nspawn" ] { };
  gcc = links "gcc" [ "gcc" ] { } // {
    libc = pkgs.glibc;
  };
  glibc = links "glibc" [ "ldd" ] { } // {
    static = links "glibc-static" [ "ldd" ] { };
  };
  netcat = fromBusybox "netcat" "nc";

  python3 =
    links "python3" [ "python3" ] {
      passthru = {
        inherit withPackages;
        pkgs = pythonPackages;
        sitePackages = "lib/site-packages";
        pythonVersion = "3.11";
      };
      meta.mainProgram = "python3";
    }
    // {
      inherit withPackages;
      pkgs = pythonPackages;
    };
  python3Packages = pythonPackages;

  # A program that was built beforehand takes the place of what would be built, by a script: one that is made
  # for tests is several times as large as the package may be.
  rustPlatform.buildRustPackage =
    given:
    pkgs.mkDerivation (
      {
        inherit (given) pname version;
        digest = host.attest;
        buildCommand = ''
          mkdir -p $out/bin
          # Outside of the sandbox, somebody has to say where the host's programs are.
          printf '%s\n' '#!/bin/sh' 'exec "''${ATTEST_HOST:-/host}/attest" "$@"' > $out/bin/attest
          chmod 555 $out/bin/attest
        '';
        passthru = given.passthru or { };
        meta = given.meta or { };
      }
      // lib.optionalAttrs (given ? postInstall) { inherit (given) postInstall; }
    );
  rustc = links "rustc" [ "rustc" ] { passthru.version = "1.95.0"; };
  removeReferencesTo = pkgs.emptyDirectory;

  # The driver that NixOS has, as far as it can be replaced.
  nixos-test-driver = pkgs.callPackage (
    _: throw "the stub of nixpkgs has no nixos-test-driver: an overlay replaces it"
  ) { };
}
