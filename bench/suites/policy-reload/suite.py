"""What a router makes of its routes under each policy. Each test begins with the first one."""

import attest

# Looked at under each policy.
CHECKS = [
    "birdcl eval POLICY",
    "birdcl 'eval 172.16.0.0/12 ~ WANTED'",
    "birdcl show route count",
    "birdcl show route filter policy table announced count",
    "birdcl show route 10.1.0.0/16 all",
    "birdcl show route for 10.2.200.1 all",
    "birdcl 'show route where net.len > 16 count'",
    "birdcl 'show route where bgp_community ~ [(65000, POLICY)] count'",
    "birdcl 'show route where dest = RTD_UNREACHABLE count'",
    "birdcl show protocols all selected",
]

# What is in the answers.
CUSTOMERS = [
    ["101"],
    ["FALSE"],
    ["2 of 2 routes"],
    ["2 of 7 routes"],
    ["(110)", "local_pref: 100", "(65000,101)"],
    ["10.2.0.0/16", "blackhole"],
    ["0 of 2 routes"],
    ["2 of 2 routes"],
    ["0 of 2 routes"],
    ["2 imported"],
]
PEERS = [
    ["102"],
    ["TRUE"],
    ["5 of 5 routes"],
    ["5 of 7 routes"],
    ["(120)", "local_pref: 200", "(65000,102)"],
    ["10.2.128.0/17", "unreachable", "as_path: 65010"],
    ["2 of 5 routes"],
    ["5 of 5 routes"],
    ["1 of 5 routes"],
    ["5 imported"],
]
TRANSIT = [
    ["103"],
    ["TRUE"],
    ["6 of 6 routes"],
    ["6 of 7 routes"],
    ["(130)", "local_pref: 300", "(65000,103)"],
    ["10.2.128.0/17", "unreachable", "med: 30"],
    ["3 of 6 routes"],
    ["6 of 6 routes"],
    ["2 of 6 routes"],
    ["6 imported"],
]
STRICT = [
    ["104"],
    ["FALSE"],
    ["2 of 2 routes"],
    ["2 of 7 routes"],
    ["(140)", "local_pref: 400", "(65000,104) (65000,666)"],
    ["10.2.128.0/17", "unreachable"],
    ["1 of 2 routes"],
    ["2 of 2 routes"],
    ["1 of 2 routes"],
    ["2 imported"],
]


def has(said, parts, command):
    for part in parts:
        assert part in said, f"`{command}` says no {part!r}, but {said!r}"


def says(router, command, *parts):
    has(router.succeed(command), parts, command)


def refuses(router, command, *parts):
    has(router.fail(command), parts, command)


def settled(router, policy, routes):
    """All routes are of this policy."""
    router.wait_until_succeeds(
        f"birdcl 'show route where bgp_community ~ [(65000, {policy})] count' "
        f"| grep '^{routes} of {routes} routes'"
    )


def check(router, answers):
    for command, parts in zip(CHECKS, answers):
        says(router, command, *parts)


def move_in(router, policy):
    """Nobody ever sees a half of it."""
    router.succeed(f"cp /etc/bird/policies/{policy}.conf /etc/bird/policy.conf.new")
    router.succeed("mv /etc/bird/policy.conf.new /etc/bird/policy.conf")


def replace(router):
    move_in(router, "strict")
    says(router, "birdcl configure", "Reconfigured")
    settled(router, 104, 2)


@attest.setup
def setup(router):
    router.wait_for_unit("bird")
    router.wait_for_open_unix_socket("/run/bird/bird.ctl")
    settled(router, 101, 2)


def test_read_at_the_start(router):
    check(router, CUSTOMERS)


def test_reloaded_by_a_signal(router):
    router.succeed("cp /etc/bird/policies/peers.conf /etc/bird/policy.conf")
    router.succeed("systemctl kill --signal HUP bird")
    settled(router, 102, 5)
    check(router, PEERS)


def test_reloaded_by_command(router):
    router.succeed("cp /etc/bird/policies/transit.conf /etc/bird/policy.conf")
    says(router, "birdcl configure", "Reconfigured")
    settled(router, 103, 6)
    check(router, TRANSIT)


def test_replaced_as_a_whole_or_not_at_all(router):
    move_in(router, "broken")
    refuses(router, "birdcl configure", "policy.conf:7", "syntax error")
    says(router, "birdcl eval POLICY", "101")
    replace(router)
    check(router, STRICT)


def test_restored(router):
    replace(router)
    move_in(router, "customers")
    says(router, "birdcl configure", "Reconfigured")
    settled(router, 101, 2)
    check(router, CUSTOMERS)
