# `nixos-test-driver` of nixpkgs, by attest: the same programs, and the same arguments of `.override` in all generations.
# Arguments that are not named here are of no use to attest: it needs no Python libraries, no netpbm, no socat.
{
  lib,
  attest,
  runCommand,
  runtimeShell,
  python3,
  coreutils,
  qemu_test,
  vde2,
  systemd ? null,
  util-linux ? null,
  iproute2 ? null,
  tesseract ? null,
  tesseract4 ? tesseract,
  qemu_pkg ? qemu_test,
  enableOCR ? false,
  enableNspawn ? false,
  enableRuntimeDeps ? true,
  extraPythonPackages ? (_: [ ]),
  ...
}:
let
  extra = extraPythonPackages python3.pkgs;
  python = if extra == [ ] then python3 else python3.withPackages extraPythonPackages;

  programs = [
    python
    coreutils
  ]
  ++ lib.optionals enableRuntimeDeps [
    qemu_pkg
    vde2
  ]
  ++ lib.optional enableOCR tesseract4
  ++ lib.optionals enableNspawn [
    systemd
    util-linux
    iproute2
  ];

  # What linters of scripts import, and scripts themselves: it is the package that attest carries.
  types = builtins.path {
    name = "test-driver-types";
    path = ./test-driver-types;
  };
  package = builtins.path {
    name = "attest-python";
    path = ../python/src/attest;
    filter = path: _: baseNameOf path != "__pycache__";
  };
in
runCommand "nixos-test-driver"
  {
    passthru = { inherit attest python; };
    meta = {
      description = "The test driver of NixOS, by attest";
      mainProgram = "nixos-test-driver";
      platforms = [ "x86_64-linux" ];
    };
  }
  ''
    mkdir -p $out/bin $out/nix-support $out/${python3.sitePackages}
    for program in nixos-test-driver generate-driver-symbols; do
      cat > $out/bin/$program << EOF
    #!${runtimeShell}
    export PATH="${lib.makeBinPath programs}\''${PATH:+:\$PATH}"
    exec ${attest}/bin/attest $program "\$@"
    EOF
      chmod 555 $out/bin/$program
    done

    # Python's hook then finds the packages, as it does for an application in Python.
    cp -r ${package} $out/${python3.sitePackages}/attest
    cp -r ${types} $out/${python3.sitePackages}/test_driver
    echo ${python3} > $out/nix-support/propagated-build-inputs
  ''
