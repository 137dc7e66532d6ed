# Four machines that never talk to each other, as four derivations, which Nix builds side by side or on other hosts.
let
  names = [
    "a"
    "b"
    "c"
    "d"
  ];
  each =
    f:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );
in
{
  name = "independent";
  independent = true;

  nodes = each (_: { });
  tests = each (name: {
    steps = [
      {
        on = name;
        run = "test -e /run";
      }
    ];
  });
}
