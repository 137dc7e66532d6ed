# Tests and set-ups as manifests have them.
{
  lib,
  hostPkgs,
  # The test's name, for names of files.
  name,
  nodes,
  containers,
}:
let
  names = import ./names.nix;

  # Functions say which of these they want; where the module system has forgotten it, it is as in NixOS.
  arguments = { inherit nodes containers; };
  call =
    f:
    let
      wanted = lib.functionArgs f;
    in
    f (if wanted == { } then { inherit nodes; } else builtins.intersectAttrs wanted arguments);

  # A derivation only where Nix itself may not write the file, for it refers to what others make.
  write =
    fileName: text:
    if builtins.hasContext text then
      "${hostPkgs.writeText fileName text}"
    else
      builtins.toFile fileName text;

  file =
    what: script:
    if lib.isFunction script then
      file what (call script)
    else if builtins.isPath script || lib.hasPrefix "/" script then
      "${script}"
    else
      write "attest-${name}-${what}.py" script;

  onHosts =
    step:
    step
    // lib.optionalAttrs (step ? on) {
      on = if builtins.isList step.on then map names.host step.on else names.host step.on;
    }
    // lib.optionalAttrs (step ? parallel) { parallel = map onHosts step.parallel; };

  body =
    what: each:
    (
      if each.script != null then
        { script = file what each.script; }
      else
        { steps = map onHosts each.steps; }
    )
    // lib.optionalAttrs (each.timeout != null) { timeout = "${toString each.timeout}s"; };

  named =
    step:
    (
      if !(step ? on) then
        [ ]
      else if builtins.isList step.on then
        step.on
      else
        [ step.on ]
    )
    ++ builtins.concatMap named (step.parallel or [ ]);
in
{
  test = key: each: body key each // lib.optionalAttrs (each.setup != null) { inherit (each) setup; };

  setup =
    key: each:
    body "setup-${key}" each // lib.optionalAttrs (each.after != null) { inherit (each) after; };

  # The machines that its steps name.
  machinesOf = each: lib.optionals (each.steps != null) (builtins.concatMap named each.steps);
}
