# The package around programs that are built already: a path, or a file that the sandbox has.
{
  runCommand,
  attest,
  agent ? null,
  version ? "prebuilt",
}:
runCommand "attest-${version}"
  {
    inherit version;
    pname = "attest";
    meta.mainProgram = "attest";
  }
  ''
    mkdir -p $out/bin
    cp ${attest} $out/bin/attest
    ${if agent == null then "" else "cp ${agent} $out/bin/attest-agent"}
    chmod 555 $out/bin/*
    ln -s attest $out/bin/nixos-test-driver
  ''
