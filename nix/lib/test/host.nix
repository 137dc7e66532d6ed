# Where everything comes from that runs on the host.
{
  config,
  lib,
  packageFor,
  ...
}:
let
  inherit (lib) mkOption types;
in
{
  options = {
    hostPkgs = mkOption {
      type = types.raw;
      default = throw "attest: test `${config.name}`: `hostPkgs` is not set. Write `hostPkgs = pkgs;` beside `imports`, or make the test by `pkgs.testers.runAttestTest`.";
      defaultText = lib.literalExpression "set by `pkgs.testers.runAttestTest`";
      description = "The nixpkgs of what runs on the host, and of nodes without `node.pkgs`.";
      example = lib.literalExpression "pkgs";
    };

    package = mkOption {
      type = types.raw;
      default = packageFor config.hostPkgs;
      defaultText = lib.literalExpression "attest.packages.x86_64-linux.default";
      description = "The attest that builds images and runs the test.";
    };
  };

  config._module.args = {
    inherit (config) hostPkgs;
    # What tests in nixpkgs call it.
    pkgs = config.hostPkgs;
  };
}
