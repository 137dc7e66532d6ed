{
  name = "web";

  nodes = {
    server =
      { pkgs, ... }:
      {
        services.nginx = {
          enable = true;
          virtualHosts.localhost.root = pkgs.writeTextDir "index.html" "hello\n";
        };
        networking.firewall.allowedTCPPorts = [ 80 ];
      };
    client = { };
  };

  # Done once, and kept by Nix until what goes into it changes: tests go on from there.
  snapshots = true;
  setup = ''
    server.wait_for_unit("nginx")
    server.wait_for_open_port(80)
  '';

  # Each is a result of its own, on a lab of its own.
  tests = {
    page.script = ''
      t.assertEqual(client.succeed("curl --silent http://server/"), "hello\n")
    '';

    nothing-else.script = ''
      client.fail("curl --fail http://server/nothing")
    '';
  };
}
