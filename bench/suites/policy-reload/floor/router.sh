# What a router makes of its routes under each policy, one policy after the other; in the machine itself, as root.

settled() {
    until_succeeds "birdcl 'show route where bgp_community ~ [(65000, $1)] count' \
        | grep '^$2 of $2 routes'"
}

move_in() {
    cp "/etc/bird/policies/$1.conf" /etc/bird/policy.conf.new
    mv /etc/bird/policy.conf.new /etc/bird/policy.conf
}

check() {
    says "birdcl eval POLICY" "${1}"
    says "birdcl 'eval 172.16.0.0/12 ~ WANTED'" "${2}"
    says "birdcl show route count" "${3}"
    says "birdcl show route filter policy table announced count" "${4}"
    says "birdcl show route 10.1.0.0/16 all" "${5}"
    says "birdcl show route for 10.2.200.1 all" "${6}"
    says "birdcl 'show route where net.len > 16 count'" "${7}"
    says "birdcl 'show route where bgp_community ~ [(65000, POLICY)] count'" "${8}"
    says "birdcl 'show route where dest = RTD_UNREACHABLE count'" "${9}"
    says "birdcl show protocols all selected" "${10}"
}

# Read at the start.
until_succeeds "systemctl is-active --quiet bird"
until_succeeds "nc -z -U /run/bird/bird.ctl"
settled 101 2
check '101' 'FALSE' '2 of 2 routes' '2 of 7 routes' \
    '(110)*local_pref: 100*(65000,101)' '10.2.0.0/16*blackhole' \
    '0 of 2 routes' '2 of 2 routes' '0 of 2 routes' '2 imported'

# Reloaded by a signal.
cp /etc/bird/policies/peers.conf /etc/bird/policy.conf
systemctl kill --signal HUP bird
settled 102 5
check '102' 'TRUE' '5 of 5 routes' '5 of 7 routes' \
    '(120)*local_pref: 200*(65000,102)' '10.2.128.0/17*unreachable*as_path: 65010' \
    '2 of 5 routes' '5 of 5 routes' '1 of 5 routes' '5 imported'

# Reloaded by command.
cp /etc/bird/policies/transit.conf /etc/bird/policy.conf
says "birdcl configure" "Reconfigured"
settled 103 6
check '103' 'TRUE' '6 of 6 routes' '6 of 7 routes' \
    '(130)*local_pref: 300*(65000,103)' '10.2.128.0/17*unreachable*med: 30' \
    '3 of 6 routes' '6 of 6 routes' '2 of 6 routes' '6 imported'

# Replaced as a whole or not at all.
move_in broken
refuses "birdcl configure" "policy.conf:7*syntax error"
says "birdcl eval POLICY" "103"
move_in strict
says "birdcl configure" "Reconfigured"
settled 104 2
check '104' 'FALSE' '2 of 2 routes' '2 of 7 routes' \
    '(140)*local_pref: 400*(65000,104) (65000,666)' '10.2.128.0/17*unreachable' \
    '1 of 2 routes' '2 of 2 routes' '1 of 2 routes' '2 imported'

# Restored.
move_in customers
says "birdcl configure" "Reconfigured"
settled 101 2
check '101' 'FALSE' '2 of 2 routes' '2 of 7 routes' \
    '(110)*local_pref: 100*(65000,101)' '10.2.0.0/16*blackhole' \
    '0 of 2 routes' '2 of 2 routes' '0 of 2 routes' '2 imported'
