# The lab and a set-up as derivations, from which tests go on, each by itself.
{
  name = "snapshots";
  snapshots = true;

  nodes.machine = { };

  setup = ''
    machine.succeed("echo set up > /tmp/state")
  '';

  tests = {
    begins.script = ''
      t.assertEqual(machine.succeed("cat /tmp/state"), "set up\n")
      machine.succeed("echo changed > /tmp/state")
    '';

    is-alone.script = ''
      t.assertEqual(machine.succeed("cat /tmp/state"), "set up\n")
      machine.succeed("echo changed > /tmp/state")
    '';

    before = {
      setup = null;
      script = ''machine.fail("cat /tmp/state")'';
    };
  };
}
