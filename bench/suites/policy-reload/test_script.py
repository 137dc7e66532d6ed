"""What a router makes of its routes under each policy, one policy after the other."""

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


def says(command, *parts):
    has(router.succeed(command), parts, command)


def settled(policy, routes):
    router.wait_until_succeeds(
        f"birdcl 'show route where bgp_community ~ [(65000, {policy})] count' "
        f"| grep '^{routes} of {routes} routes'"
    )


def check(answers):
    for command, parts in zip(CHECKS, answers):
        says(command, *parts)


def move_in(policy):
    router.succeed(f"cp /etc/bird/policies/{policy}.conf /etc/bird/policy.conf.new")
    router.succeed("mv /etc/bird/policy.conf.new /etc/bird/policy.conf")


start_all()

with subtest("read at the start"):
    router.wait_for_unit("bird")
    router.wait_for_open_unix_socket("/run/bird/bird.ctl")
    settled(101, 2)
    check(CUSTOMERS)

with subtest("reloaded by a signal"):
    router.succeed("cp /etc/bird/policies/peers.conf /etc/bird/policy.conf")
    router.succeed("systemctl kill --signal HUP bird")
    settled(102, 5)
    check(PEERS)

with subtest("reloaded by command"):
    router.succeed("cp /etc/bird/policies/transit.conf /etc/bird/policy.conf")
    says("birdcl configure", "Reconfigured")
    settled(103, 6)
    check(TRANSIT)

with subtest("replaced as a whole or not at all"):
    move_in("broken")
    refused = router.fail("birdcl configure")
    has(refused, ["policy.conf:7", "syntax error"], "birdcl configure")
    says("birdcl eval POLICY", "103")
    move_in("strict")
    says("birdcl configure", "Reconfigured")
    settled(104, 2)
    check(STRICT)

with subtest("restored"):
    move_in("customers")
    says("birdcl configure", "Reconfigured")
    settled(101, 2)
    check(CUSTOMERS)
