# Which machines are in one lab. Groups never talk to each other, and so become derivations of their own.
{ names, independent }:
let
  join = builtins.concatStringsSep "-";
  group = machines: {
    name = join machines;
    inherit machines;
  };
  listed = builtins.concatLists independent;
  rest = builtins.filter (name: !builtins.elem name listed) names;
in
if independent == false then
  [
    {
      name = "all";
      machines = names;
    }
  ]
else if independent == true then
  map (name: group [ name ]) names
else
  map group independent ++ (if rest == [ ] then [ ] else [ (group rest) ])
