{
  nodes.machine = { };

  tests.boots.steps = [ { wait.unit = "multi-user.target"; } ];
}
