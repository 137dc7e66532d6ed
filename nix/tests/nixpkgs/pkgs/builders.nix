# What makes derivations. All are built by the sandbox's own `/bin/sh`, which is busybox.
{
  lib,
  pkgs,
  system,
}:
let
  hostPlatform =
    let
      parts = lib.splitString "-" system;
      cpu = builtins.head parts;
    in
    {
      inherit system;
      config = "${cpu}-unknown-linux-gnu";
      isLinux = lib.last parts == "linux";
      isDarwin = lib.last parts == "darwin";
      isx86_64 = cpu == "x86_64";
      isAarch64 = cpu == "aarch64";
      isx86 = cpu == "x86_64";
      is64bit = true;
      qemuArch = cpu;
      linuxArch = if cpu == "aarch64" then "arm64" else cpu;
      parsed.cpu.name = cpu;
      parsed.kernel.name = lib.last parts;
      linux-kernel.target = "bzImage";
      emulatorAvailable = _: false;
      canExecute = _: true;
    };

  # What a derivation of nixpkgs' gets from its phases, as far as it is used.
  setup = ''
    set -eu
    export PATH=''${buildPath:+$buildPath:}/host/bin HOME=/homeless-shelter
    installPhase=''${installPhase:-} buildPhase=''${buildPhase:-} postInstall=''${postInstall:-}
    if test -n "''${buildCommandPath:-}"; then
        . "$buildCommandPath"
    elif test -n "''${buildCommand:-}"; then
        eval "$buildCommand"
    else
        if test -n "''${src:-}"; then cp -r "$src" source; chmod -R u+w source; cd source; fi
        eval "$buildPhase"
        eval "$installPhase"
    fi
    eval "$postInstall"
  '';
  notForBuilder = [
    "meta"
    "passthru"
    "pos"
    "nativeBuildInputs"
    "buildInputs"
    "cargoLock"
    "env"
    "passAsFile"
  ];

  mkDerivation =
    given:
    let
      attributes = lib.fix (if lib.isFunction given then given else _: given);
      name = attributes.name or "${attributes.pname}-${attributes.version}";
      inputs = attributes.nativeBuildInputs or [ ] ++ attributes.buildInputs or [ ];
      made = derivation (
        {
          inherit name system;
          builder = "/bin/sh";
          args = [
            "-c"
            setup
          ];
          buildPath = lib.makeBinPath inputs;
        }
        // removeAttrs attributes notForBuilder
        // attributes.env or { }
        // lib.optionalAttrs (attributes ? passAsFile) { inherit (attributes) passAsFile; }
      );
      passthru = attributes.passthru or { };
    in
    made
    // passthru
    // {
      meta = {
        inherit name;
        platforms = lib.platforms.linux;
      }
      // attributes.meta or { };
      inherit passthru;
      inherit (made) outPath drvPath;
      overrideAttrs =
        change:
        mkDerivation (
          lib.extends (lib.toExtension change) (if lib.isFunction given then given else _: given)
        );
    }
    // lib.optionalAttrs (attributes ? pname) { inherit (attributes) pname; }
    // lib.optionalAttrs (attributes ? version) { inherit (attributes) version; };
in
rec {
  inherit hostPlatform;
  stdenv = {
    inherit
      hostPlatform
      mkDerivation
      system
      ;
    buildPlatform = hostPlatform;
    targetPlatform = hostPlatform;
    shell = pkgs.runtimeShell;
    cc = pkgs.gcc;
    isLinux = hostPlatform.isLinux;
    isx86_64 = hostPlatform.isx86_64;
  };
  stdenvNoCC = stdenv // {
    cc = null;
  };
  inherit mkDerivation;

  runCommand =
    name: attributes: buildCommand:
    mkDerivation (
      {
        inherit name buildCommand;
        passAsFile = [ "buildCommand" ] ++ attributes.passAsFile or [ ];
      }
      // removeAttrs attributes [ "passAsFile" ]
    );
  runCommandLocal =
    name: attributes:
    runCommand name (
      attributes
      // {
        preferLocalBuild = true;
        allowSubstitutes = false;
      }
    );

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      meta ? { },
      passthru ? { },
      ...
    }:
    runCommandLocal name
      {
        inherit
          destination
          meta
          passthru
          text
          ;
        mode = if executable then "555" else "444";
        passAsFile = [ "text" ];
      }
      ''
        target=$out$destination
        mkdir -p "$(dirname "$target")"
        cp "$textPath" "$target"
        chmod "$mode" "$target"
      '';
  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir =
    path: text:
    writeTextFile {
      name = baseNameOf path;
      inherit text;
      destination = "/${path}";
    };
  writeScript =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
    };
  writeScriptBin =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
      destination = "/bin/${name}";
      meta.mainProgram = name;
    };
  writeShellScript = name: text: writeScript name "#!${pkgs.runtimeShell}\n${text}";
  writeShellScriptBin = name: text: writeScriptBin name "#!${pkgs.runtimeShell}\n${text}";

  symlinkJoin =
    {
      name ? "${pname}-${version}",
      pname ? "joined",
      version ? "0",
      paths,
      postBuild ? "",
      meta ? { },
      passthru ? { },
      ...
    }:
    runCommandLocal name { inherit meta passthru; } ''
      mkdir -p $out
      for path in ${toString paths}; do
          (cd "$path" && find . -type d) | while read -r directory; do mkdir -p "$out/$directory"; done
          (cd "$path" && find . ! -type d) | while read -r file; do
              test -e "$out/$file" || ln -s "$path/''${file#./}" "$out/$file"
          done
      done
      ${postBuild}
    '';
  buildEnv =
    arguments@{ name, paths, ... }:
    symlinkJoin {
      inherit name paths;
      postBuild = arguments.postBuild or "";
    };
  linkFarm =
    name: entries:
    let
      list =
        if builtins.isAttrs entries then
          lib.mapAttrsToList lib.nameValuePair entries
        else
          map ({ name, path }: lib.nameValuePair name path) entries;
    in
    runCommandLocal name { } ''
      mkdir -p $out
      ${lib.concatMapStrings ({ name, value }: ''
        mkdir -p "$(dirname ${lib.escapeShellArg "${placeholder "out"}/${name}"})"
        ln -s ${lib.escapeShellArg "${value}"} ${lib.escapeShellArg "${placeholder "out"}/${name}"}
      '') list}
    '';

  # What these paths need, as nixpkgs' own lists it.
  closureInfo =
    { rootPaths }:
    runCommand "closure-info"
      {
        exportReferencesGraph = lib.concatLists (
          lib.imap0 (n: path: [
            "closure-${toString n}"
            path
          ]) rootPaths
        );
      }
      ''
        mkdir $out
        # A graph has for each path: itself, what made it, how many paths it refers to, and these.
        cat closure-* | awk '
            state == 0 { print; state = 1; next }
            state == 1 { state = 2; next }
            state == 2 { left = $0 + 1 }
            { left--; state = left ? 3 : 0 }
        ' | sort -u > $out/store-paths
        cat closure-* > $out/registration
      '';

  emptyFile = runCommandLocal "empty-file" { } "touch $out";
  emptyDirectory = runCommandLocal "empty-directory" { } "mkdir $out";
  testers = {
    runNixOSTest =
      test:
      (import ../nixos/lib/testing-python.nix {
        inherit pkgs system;
      }).runTest
        {
          imports = [ test ];
          node.pkgs = lib.mkDefault pkgs;
        };
    nixosTest =
      test:
      (import ../nixos/lib/testing-python.nix { inherit pkgs system; }).makeTest (
        if lib.isFunction test then pkgs.callPackage test { } else test
      );
    # A derivation that succeeds when that one fails, with its log.
    testBuildFailure = package: package;
  };
  nixosTest = testers.nixosTest;
  nixos =
    configuration:
    import ../nixos/lib/eval-config.nix {
      inherit lib system;
      modules = lib.toList configuration ++ [ { nixpkgs.pkgs = pkgs; } ];
    };
}
