# The derivations of one lab: snapshots of it, and shards of its tests.
{
  lib,
  config,
  # As of split.nix.
  group,
  chain,
  # Of what the tests have more than one of: nothing, or the group's name.
  prefix,
  # Gives the path of a manifest of this lab, of its name's suffix, set-ups and tests.
  manifestOf,
  # Of a derivation in which attest runs labs.
  run,
}:
let
  inherit (config) name;
  hosts = map (import ./names.nix).host group.machines;
  key = part: if prefix == null then part else "${prefix}-${part}";

  again = [
    "--infrastructure-retries"
    config.infrastructureRetries
  ];

  # What the tests begin with; `null` is the lab as it booted.
  wanted = lib.unique (map (test: config.tests.${test}.setup) group.tests);
  areSetups = builtins.elem config.snapshots [
    true
    "setups"
  ];
  # A set-up is made from the one before it, so that all of a chain are derivations.
  saved = lib.optionals (config.snapshots != false) (
    [ null ] ++ lib.optionals areSetups (lib.unique (builtins.concatMap chain wanted))
  );
  # Shards begin with these, and bring no others along.
  used = if areSetups then wanted else saved;

  keyOf = setup: key (if setup == null then "ready" else setup);
  from = builtins.concatMap (setup: [
    "--snapshot"
    "${snapshots.${keyOf setup}}/snapshot"
  ]);

  snapshot = setup: {
    name = keyOf setup;
    value = run {
      name = "attest-snapshot-${name}-${keyOf setup}";
      args = [
        "snapshot"
        "--manifest"
        (manifestOf (keyOf setup) (chain setup) {
          snapshot = {
            # All of them are booted, and waited for.
            steps = [
              {
                on = hosts;
                run = "true";
              }
            ];
          }
          // lib.optionalAttrs (setup != null) { inherit setup; };
        })
        "--packing"
        config.snapshotPacking
      ]
      ++ again
      ++ lib.optionals (setup != null) (from [ config.setups.${setup}.after ]);
    };
  };
  snapshots = builtins.listToAttrs (map snapshot saved);

  # A script may have several tests in it, which only attest can count.
  isCounted = builtins.all (test: config.tests.${test}.steps != null) group.tests;
  count =
    let
      tests = builtins.length group.tests;
    in
    if isCounted && tests < config.shards then tests else config.shards;

  shard =
    number:
    let
      part = if count == 1 then "all" else "${toString number}-of-${toString count}";
      # A group with one shard is called as the group.
      shardKey = if count == 1 && prefix != null then prefix else key part;
    in
    {
      name = shardKey;
      value = run {
        name = "attest-shard-${name}-${shardKey}";
        args = [
          "shard"
          "--manifest"
          (manifestOf null group.setups null)
          "--failures"
          config.failures
        ]
        ++ lib.optionals (count > 1) [
          "--shard"
          "${toString number}/${toString count}"
        ]
        ++ lib.optionals (config.retries > 0) [
          "--retries"
          config.retries
        ]
        ++ again
        ++ from used;
      };
    };
in
{
  inherit snapshots;
  shards = builtins.listToAttrs (map shard (lib.range 1 count));
}
