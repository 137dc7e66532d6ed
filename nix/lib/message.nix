# All that is wrong with a test as one text, or null.
{
  lib,
  hostPkgs,
  config,
}:
problems:
let
  inherit (hostPkgs.stdenv.hostPlatform) system;

  # Nothing else is looked at: nodes of another system may not even evaluate.
  texts =
    if system == "x86_64-linux" then
      problems
    else
      [
        "hostPkgs: attest does not run on `${system}`; its tests run on x86_64-linux, to which Nix sends them from elsewhere: write `hostPkgs = inputs.nixpkgs.legacyPackages.x86_64-linux`"
      ];
in
if texts == [ ] then
  null
else
  "attest: the test `${config.name}` cannot be made:\n"
  + lib.concatMapStrings (text: "  - ${text}\n") texts
