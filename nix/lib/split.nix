# Which tests belong to which lab, and which set-ups those need.
{
  lib,
  config,
  bodies,
}:
let
  groups = import ./groups.nix {
    names = builtins.attrNames config.allMachines;
    inherit (config) independent;
  };
  isOne = builtins.length groups == 1;

  # A set-up and those before it; a circle is told by problems.nix.
  chain =
    let
      upTo =
        later: key:
        if key == null || !config.setups ? ${key} || builtins.elem key later then
          [ ]
        else
          upTo (later ++ [ key ]) config.setups.${key}.after ++ [ key ];
    in
    upTo [ ];

  machinesOf =
    key:
    let
      test = config.tests.${key};
      own = if test.machines != null then test.machines else bodies.machinesOf test;
      ofSetup = setup: bodies.machinesOf config.setups.${setup};
    in
    lib.unique (own ++ builtins.concatMap ofSetup (chain test.setup));

  # Where there is one lab, tests are in it. Where there are more, a test belongs to where all its machines are.
  isIn =
    group: key:
    let
      machines = machinesOf key;
    in
    isOne || (machines != [ ] && builtins.all (machine: builtins.elem machine group.machines) machines);

  withTests =
    group:
    let
      tests = builtins.filter (isIn group) (builtins.attrNames config.tests);
    in
    group
    // {
      inherit tests;
      setups = lib.unique (builtins.concatMap (key: chain config.tests.${key}.setup) tests);
    };
in
{
  inherit chain machinesOf;
  isLost = key: !builtins.any (group: isIn group key) groups;
  # Those that nobody tests need not boot.
  groups = builtins.filter (group: group.tests != [ ]) (map withTests groups);
}
