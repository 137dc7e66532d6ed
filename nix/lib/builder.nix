# A derivation that attest itself builds: without a shell and without stdenv, so that its sandbox binds the few
# paths that are named, and nothing that they only come with.
{
  attest,
  system ? "x86_64-linux",
}:
{
  name,
  args,
  # Packages whose programs are looked for on PATH.
  path ? [ ],
  # Only for derivations that need no PATH: with structured attributes nothing becomes an environment variable.
  forgetReferences ? false,
  attributes ? { },
}:
let
  # Between its first release and its stable one the feature was an experiment, and using it an error. Older Nix
  # ignores the attribute: all goes well, only slower, for the closure is an input of whatever uses the output.
  isExperiment =
    builtins.compareVersions builtins.nixVersion "2.14" >= 0
    && builtins.compareVersions builtins.nixVersion "2.17" < 0;
  withoutReferences = {
    __structuredAttrs = true;
  }
  // (if isExperiment then { } else { unsafeDiscardReferences.out = true; });
in
derivation (
  {
    inherit name system;
    builder = "${attest}/bin/attest";
    args = map toString args;
  }
  // (
    if path == [ ] then
      { }
    else
      { PATH = builtins.concatStringsSep ":" (map (package: "${package}/bin") path); }
  )
  // (if forgetReferences then withoutReferences else { })
  // attributes
)
