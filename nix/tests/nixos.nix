# As it is written for the driver of NixOS, which knows nothing of attest.
{ pkgs, ... }:
{
  name = "nixos";

  nodes = {
    client = { };
    server = {
      systemd.services.web = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${pkgs.busybox}/bin/httpd -f -p 80 -h ${pkgs.writeTextDir "index.html" "served"}";
      };
      networking.firewall.allowedTCPPorts = [ 80 ];
    };
  };

  testScript =
    { nodes, ... }:
    ''
      start_all()
      server.wait_for_open_port(80)
      with subtest("the client reaches the server"):
          page = client.wait_until_succeeds("${pkgs.busybox}/bin/wget -q -O - http://server/")
          t.assertEqual(page, "served")
      address = "${nodes.server.networking.primaryIPAddress}"
      client.succeed(f"ping -c 1 {address}")
    '';
}
