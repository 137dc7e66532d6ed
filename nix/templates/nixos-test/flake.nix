{
  description = "Tests of NixOS, on attest";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # Where you have attest from.
    attest.url = "github:OWNER/attest";
  };

  outputs =
    { nixpkgs, attest, ... }:
    let
      system = "x86_64-linux";
      pkgs = import nixpkgs {
        inherit system;
        # This line is all that it takes.
        overlays = [ attest.overlays.default ];
      };
    in
    {
      checks.${system} = {
        # The driver is attest; the machines are started by the scripts that NixOS makes.
        login = pkgs.testers.runNixOSTest ./login.nix;

        # The same test, on machines that attest boots by itself.
        login-on-attest = pkgs.testers.runAttestTest ./login.nix;
      };
    };
}
