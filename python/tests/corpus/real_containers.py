"""Containers and a virtual machine on the same network."""
# needs: nixos
# machines: gateway
# containers: app cache
from typing import Union

targets: list[Union[QemuMachine, NspawnMachine]] = [gateway, app, cache]


def ping(source: BaseMachine, target: BaseMachine) -> None:
    source.wait_until_succeeds(f"ping -c 1 {target.name}", timeout=30)


start_all()
for target in targets:
    target.wait_for_unit("multi-user.target")
for source in targets:
    for target in targets:
        ping(source, target)

cache.wait_for_open_port(6379)
app.wait_for_open_unix_socket("/run/app/control.sock")
app.succeed("app-cli flush-cache")
assert cache.succeed("redis-cli dbsize").strip() == "0"
assert gateway.is_up() and app.is_up()
app.copy_from_machine("/var/log/app", target_dir=app.name)
for container in machines_nspawn:
    assert isinstance(container, NspawnMachine)
    log.info(f"{container.name}: {container.ssh_backdoor_command(1)}")
