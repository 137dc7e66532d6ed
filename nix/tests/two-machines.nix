# Two machines on a network, by steps and by a script.
{
  name = "two-machines";

  nodes = {
    client = { };
    server = { };
  };

  tests = {
    # A node has the number that its name has in order, and its address.
    addresses.steps = [
      {
        on = "client";
        run = "ping -c 1 192.168.1.2";
      }
      {
        on = "server";
        run = "ping -c 1 192.168.1.1";
      }
    ];

    names.script = ''
      start_all()
      with subtest("each knows the other by name"):
          client.succeed("ping -c 1 server")
          server.succeed("ping -c 1 client")
    '';
  };
}
