{
  name = "login";

  nodes.machine = {
    users.users.alice.isNormalUser = true;
  };

  testScript = ''
    machine.wait_for_unit("multi-user.target")
    t.assertEqual(machine.succeed("su - alice -c whoami"), "alice\n")
  '';
}
