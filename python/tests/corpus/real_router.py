"""A router between two networks, with address translation and a broken cable."""
# needs: nixos
# machines: client router server
import ipaddress
import re


def addresses(target: Machine, interface: str) -> list[ipaddress.IPv4Address]:
    output = target.succeed(f"ip -4 -o addr show dev {interface}")
    return [ipaddress.IPv4Address(found) for found in re.findall(r"inet ([0-9.]+)/", output)]


client.start()
server.start()
router.start()

for node in machines:
    node.wait_for_unit("network.target")
router.wait_for_unit("nftables.service")

assert len(vlans) == 2, vlans
t.assertEqual(len(addresses(router, "eth1")), 1)

with subtest("the client reaches the server through the router"):
    client.wait_until_succeeds("ping -c 1 server >&2", timeout=60)
    server.wait_for_unit("httpd")
    client.succeed("curl --fail http://server/ >&2")

with subtest("the server does not reach the client"):
    server.fail("ping -c 1 -W 1 client >&2")

with subtest("a pulled cable is noticed"):
    router.block()
    client.fail("ping -c 1 -W 1 server >&2")
    router.unblock()
    client.wait_until_succeeds("ping -c 1 -W 1 server >&2")

router.forward_port(8080, 80)
router.send_monitor_command("info network")
