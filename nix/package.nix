# attest and its agent, without shared libraries, and without a reference to anything: the closure is these two
# programs. Python, QEMU and the others are dependencies of tests, and only of those that use them.
{
  lib,
  stdenv,
  rustPlatform,
  rustc,
  removeReferencesTo,
}:
let
  minimum = "1.95";
  root = ../.;

  # What cargo builds from; `nix flake check` of a changed test builds nothing again.
  source = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions (
      map (path: root + "/${path}") [
        "Cargo.toml"
        "Cargo.lock"
        "crates"
        # The package for scripts is carried in the program.
        "python/src"
        # Cargo reads the manifests of all members.
        "bench"
        "examples/rust"
        "fuzz"
        "guests"
        "xtask"
      ]
    );
  };

  manifest = builtins.fromTOML (builtins.readFile (root + "/Cargo.toml"));
in
if !lib.versionAtLeast rustc.version minimum then
  throw "attest: it takes Rust ${minimum}, and this nixpkgs has ${rustc.version}. Let attest have a nixpkgs of its own: remove `inputs.attest.inputs.nixpkgs.follows`. Tests keep yours."
else
  rustPlatform.buildRustPackage {
    pname = "attest";
    inherit (manifest.workspace.package) version;
    src = source;
    cargoLock.lockFile = root + "/Cargo.lock";

    cargoBuildFlags = [
      "--package=attest-cli"
      "--package=attest-agent"
    ];

    # As `cargo xtask build --static`. The target is named, so that the flag is not one of build scripts'.
    buildType = "dist";
    env.RUSTFLAGS = "-C target-feature=+crt-static";
    buildInputs = [ stdenv.cc.libc.static ];

    # They boot machines; .ci/run is where they run.
    doCheck = false;

    # The static C library has its own place in it, and panics have the compiler's.
    nativeBuildInputs = [ removeReferencesTo ];
    postFixup = ''
      for program in $out/bin/*; do
        remove-references-to -t ${stdenv.cc.libc} -t ${rustc.unwrapped or rustc} "$program"
      done
    '';
    postInstall = ''
      ln -s attest $out/bin/nixos-test-driver
    '';
    disallowedReferences = [
      stdenv.cc.libc
      stdenv.cc
      rustc
    ];

    meta = {
      description = "Test driver for whole systems";
      license = with lib.licenses; [
        mit
        asl20
      ];
      mainProgram = "attest";
      platforms = [ "x86_64-linux" ];
    };
  }
