"""A cluster whose members are driven at the same time, with a condition that must hold."""
# needs: nixos
# machines: node1 node2 node3
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

nodes = [node1, node2, node3]


def in_parallel(*actions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@polling_condition
def quorum() -> bool:
    """at least two members are alive"""
    return sum(node.execute("systemctl is-active member")[0] == 0 for node in nodes) >= 2


@polling_condition(seconds_interval=5, description="node 1 answers")
def node1_answers():
    node1.succeed("curl --fail http://localhost:8500/health", timeout=10)


start_all()
in_parallel(*(functools.partial(node.wait_for_unit, "member.service") for node in nodes))
quorum.wait(timeout=120)

with quorum, node1_answers:
    with subtest("one member goes and comes back"):
        node3.crash()
        node1.wait_until_succeeds("member list | grep -c alive | grep -x 2")
        node3.start()
        node3.wait_for_unit("member")

    with subtest("all write at once"), ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda node: node.succeed("member put $HOSTNAME 1"), nodes))
        assert all(output == "ok\n" for output in outputs)

value = functools.reduce(lambda so_far, node: so_far + int(node.succeed("member count")), nodes, 0)
t.assertEqual(value, 9, "every member has all three keys")
