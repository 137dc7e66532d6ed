# What is wrong with a test, as far as evaluation can tell: all of it at once, each by the name of its option.
{
  lib,
  config,
  # As of bodies.nix.
  bodies,
  # As of split.nix.
  split,
}:
let
  names = import ./names.nix;
  inherit (config)
    nodes
    containers
    tests
    setups
    allMachines
    ;

  machineNames = builtins.attrNames allMachines;
  where = name: if nodes ? ${name} then "nodes.${name}" else "containers.${name}";
  when = lib.optional;
  list = builtins.concatStringsSep ", ";
  quoted = texts: list (map (text: "`${text}`") texts);
  unknown = builtins.filter (name: !allMachines ? ${name});

  ofName =
    when (!names.isTest config.name)
      "name: `${config.name}` cannot be in the name of a store path: letters, digits and `+._?=-`, at most 150, not beginning with one of `+.?=-`";

  ofMachineNames =
    let
      both = builtins.attrNames (builtins.intersectAttrs nodes containers);
      odd = builtins.filter (name: !names.isHost (names.host name)) machineNames;
      hosts = map names.host machineNames;
    in
    when (machineNames == [ ]) "nodes: there is none"
    ++ when (both != [ ]) "nodes, containers: both have ${quoted both}"
    ++ when (
      builtins.length machineNames > 254
    ) "nodes: there are ${toString (builtins.length machineNames)}, and addresses for 254"
    ++ map (
      name:
      "${where name}: `${name}` is no host name: lowercase letters, digits and inner `-` or `_`, at most 63"
    ) odd
    ++ when (
      odd == [ ] && lib.unique hosts != hosts
    ) "nodes: two have the same host name, for `_` is `-` there: ${quoted machineNames}";

  ofBody =
    kind: key: each:
    let
      place = "${kind}.${key}";
      strangers = unknown (bodies.machinesOf each);
    in
    when (each.script == null && each.steps == null) "${place}: there is neither `script` nor `steps`"
    ++ when (each.script != null && each.steps != null) "${place}: there are both `script` and `steps`"
    ++ when (
      strangers != [ ]
    ) "${place}.steps: there is no machine ${quoted strangers}; there are ${quoted machineNames}";

  ofTest =
    key: each:
    let
      place = if key == "testScript" then "testScript" else "tests.${key}";
      strangers = lib.optionals (each.machines != null) (unknown each.machines);
    in
    ofBody "tests" key each
    ++ when (
      !names.isTest key
    ) "tests: `${key}` cannot be the name of a test: letters, digits and `+._?=-`, at most 150"
    ++
      when (each.setup != null && !setups ? ${each.setup})
        "${place}.setup: there is no set-up `${each.setup}`; there are ${
          if setups == { } then "none" else quoted (builtins.attrNames setups)
        }"
    ++ when (
      strangers != [ ]
    ) "${place}.machines: there is no machine ${quoted strangers}; there are ${quoted machineNames}"
    ++ when (strangers == [ ] && split.isLost key) (
      if split.machinesOf key == [ ] then
        "${place}.machines: it has to be set, for `independent` makes several labs of the machines, and nothing says which one it is for"
      else
        "${place}: its machines, ${quoted (split.machinesOf key)}, are not in one lab: `independent` puts them into different groups"
    )
    ++ ofPython place each.script;

  # What tests were written in before; anything else is checked by attest before it boots.
  ofPython =
    place: script:
    let
      text = if builtins.isString script then builtins.unsafeDiscardStringContext script else "";
      isPerl =
        builtins.match ".*\\$[a-zA-Z_]+->.*" (builtins.replaceStrings [ "\n" ] [ " " ] text) != null;
    in
    when isPerl "${place}: this is no Python but Perl, which tests of NixOS were written in until 20.03";

  ofSetup =
    key: each:
    ofBody "setups" key each
    ++ when (
      each.after != null && !setups ? ${each.after}
    ) "setups.${key}.after: there is no set-up `${each.after}`"
    ++ when (isCircle [ key ] each.after) "setups.${key}.after: it begins after itself";

  isCircle =
    seen: key:
    key != null
    && setups ? ${key}
    && (builtins.elem key seen || isCircle (seen ++ [ key ]) setups.${key}.after);

  ofIndependent =
    let
      listed = lib.optionals (builtins.isList config.independent) (
        builtins.concatLists config.independent
      );
      strangers = unknown listed;
    in
    when (
      strangers != [ ]
    ) "independent: there is no machine ${quoted strangers}; there are ${quoted machineNames}"
    ++ when (lib.unique listed != listed) "independent: a machine is in two groups: ${list listed}";

  cheap =
    ofName
    ++ ofMachineNames
    ++ ofIndependent
    ++ when config.enableOCR "enableOCR: machines that attest boots have no screen to read. Keep this test on NixOS's driver: with attest's overlay, `pkgs.testers.runNixOSTest`"
    ++ when (
      setups ? ready
    ) "setups.ready: it is what the lab as it booted is called; call it otherwise"
    ++ when (tests == { }) "testScript, tests: there is no test"
    ++ builtins.concatLists (lib.mapAttrsToList ofTest tests)
    ++ builtins.concatLists (lib.mapAttrsToList ofSetup setups);

  ofNode =
    name: node:
    map (text: "${where name}.${text}") (
      import ./node-problems.nix {
        inherit lib config;
      } node
    );
in
# Nodes take long to evaluate, and may not even be a set.
if cheap != [ ] then cheap else builtins.concatLists (lib.mapAttrsToList ofNode allMachines)
