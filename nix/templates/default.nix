let
  default = {
    path = ./default;
    description = "A test of two machines, with a set-up that is done once";
    welcomeText = ''
      Run it with `nix flake check`, look into it with `nix run .#checks.x86_64-linux.web.driver -- shell server`.
    '';
  };
in
{
  inherit default;

  nixos-test = {
    path = ./nixos-test;
    description = "Tests of NixOS as they are, on attest";
  };

  flake-parts = {
    path = ./flake-parts;
    description = "Tests with flake-parts";
  };
}
