# Shards whose builder is a shell: what they write is what `attest nix shard` does, as the tests want it.
let
  derivation =
    name: script: environment:
    builtins.derivation (
      {
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [
          "-euc"
          script
        ];
        requiredSystemFeatures = [ "nixos-test" ];
      }
      // environment
    );

  # Waits until somebody opens the gate.
  gated = gate: ''
    echo "at the gate"
    read word < /gate/${gate}
  '';

  passes = {
    verdict = ''{"verdict":"passed","exit":0,"tests":1,"failed":[],"restored":0,"attempts":[]}'';
    failures = "0";
    result = "";
  };

  fails = {
    verdict = ''{"verdict":"failed","exit":1,"tests":1,"failed":["fails"],"restored":0,"attempts":[]}'';
    failures = "1";
    result = "<failure message='it does not answer' type='failed'/>";
  };

  shard =
    name: script: result:
    derivation "attest-shard-${name}" ''
      ${script}
      mkdir "$out"
      echo "$verdict" > "$out/verdict.json"
      cat > "$out/junit.xml" <<END
      <testsuites name="attest" tests="1" failures="$failures" errors="0" time="0.5">
      <testsuite name="attest" tests="1" failures="$failures" errors="0" disabled="0" time="0.5">
      <testcase name="${name}" classname="attest" time="0.5">$result</testcase>
      </testsuite></testsuites>
      END
    '' result;

  test =
    name: shards:
    derivation "vm-test-run-${name}" ''
      for shard in $shards; do
        if grep '"verdict":"failed"' "$shard/verdict.json"; then exit 1; fi
      done
      echo passed > "$out"
    '' { shards = builtins.attrValues shards; }
    // {
      inherit shards;
    };
in
{
  green = test "green" {
    first = shard "first" (gated "first") passes;
    second = shard "second" (gated "second") passes;
  };
  # One waits, to be killed meanwhile.
  killed = test "killed" {
    long = shard "long" (gated "long") passes;
    short = shard "short" "" passes;
  };
  # The same, and a test that fails.
  mixed = test "mixed" {
    failing = shard "failing" "echo 'it does not answer'" fails;
    long = shard "long" (gated "long") passes;
  };
  red = test "red" {
    failing = shard "failing" "" fails;
    passing = shard "passing" "" passes;
  };
  lost = test "lost" {
    lost = shard "lost" "echo 'no memory is left'; exit 1" passes;
    passing = shard "passing" "" passes;
  };
  # The test needs what cannot be built.
  needy = test "needy" {
    needy = shard "needy" "" (
      passes // { needed = derivation "needed" "echo 'no such file'; exit 1" { }; }
    );
  };
  foreign = test "foreign" { foreign = derivation "foreign" "echo text > $out" { }; };
  empty = test "empty" { };
  plain = derivation "plain" "echo text > $out" { };
  wrong = throw "the option `nodes.server` is not set";
}
