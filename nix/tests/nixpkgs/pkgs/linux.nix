# The kernel, which is the host's or one that attest has in its cache.
{ lib, pkgs }:
let
  host = import ../host.nix;
  kernel = lib.makeOverridable (
    {
      features ? { },
      missing ? [ ],
    }:
    let
      made = pkgs.mkDerivation {
        pname = "linux";
        version = host.release;
        outputs = [
          "out"
          "dev"
        ];
        digest = host.kernel;
        buildCommand = ''
          mkdir -p $out
          cp /host/kernel/vmlinuz $out/bzImage
          cp -r /host/kernel/lib $out/lib
          touch $out/System.map
          # What drags a compiler in, where it is used.
          mkdir -p $dev/lib
          echo "${pkgs.gcc}" > $dev/lib/compiler
        '';
      };
    in
    made
    // {
      inherit features;
      modDirVersion = host.release;
      kernelAtLeast = lib.versionAtLeast host.release;
      kernelOlder = lib.versionOlder host.release;
      target = "bzImage";
      # `missing`: without these options, for tests of what asks for them.
      config =
        let
          has = name: !builtins.elem (lib.removePrefix "CONFIG_" name) missing;
        in
        {
          isYes = has;
          isModule = has;
          isEnabled = has;
          isSet = has;
          isNo = name: !has name;
          isDisabled = name: !has name;
        };
    }
  ) { };
  packagesFor = kernel: {
    inherit kernel;
    callPackage = lib.callPackageWith (pkgs // { inherit kernel; });
    extend = _: packagesFor kernel;
  };
in
{
  linux = kernel;
  linux_latest = kernel;
  linuxPackagesFor = packagesFor;
  linuxPackages = packagesFor pkgs.linux;
  linuxPackages_latest = packagesFor pkgs.linux;
  linuxKernel.packages.linux_6_1 = packagesFor pkgs.linux;
}
