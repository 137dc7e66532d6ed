#!/bin/bash
set -e

root=${RUN_NSPAWN_ROOT_DIR:-./@NAME@-root}
chmod 0755 "$root"
mkdir -p "$root"/{bin,sbin,dev,etc,proc,root,run,sys,tmp,usr,var}
cp @BUSYBOX@ "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    test "$applet" = busybox || ln -sf busybox "$root/bin/$applet"
done
echo 'PATH=/bin:/sbin FIXTURE=profile' > "$root/etc/profile"
echo 'export PATH FIXTURE' >> "$root/etc/profile"
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'ID=fixture' > "$root/etc/os-release"
cat > "$root/sbin/init" <<'END'
#!/bin/sh
# PID 1: as much of an init as the entering of a container needs.
trap 'exit 0' USR2
trap 'exit 133' TERM
echo "Welcome to the fixture!"
while :; do sleep 1000 & wait; done
END
chmod 0755 "$root/sbin/init"

# A bridge for each VLAN, which the driver's card is on, too, and a pair of cards for the container.
# Containers start side by side: one looks for a bridge and makes it while the others wait.
ip netns add fixture-@NAME@
card=0
for vlan in @VLANS@; do
    card=$((card + 1))
    (
        flock 9
        if ! test -e /sys/class/net/br$vlan; then
            ip link add br$vlan type bridge
            ip link set br$vlan up
        fi
        if test -e /sys/class/net/vde-tap$vlan; then
            ip link set vde-tap$vlan master br$vlan up
        fi
    ) 9< "${0%/*}"
    ip link add @NAME@-eth$card type veth peer name eth$card netns fixture-@NAME@
    ip link set @NAME@-eth$card master br$vlan up
    ip -n fixture-@NAME@ address add 192.168.$vlan.@NUMBER@/24 dev eth$card
    ip -n fixture-@NAME@ link set eth$card up
done
trap 'kill $nspawn; ip netns delete fixture-@NAME@; exit 0' TERM
(
    echo "systemd-nspawn's PID is $BASHPID"
    exec systemd-nspawn --quiet --keep-unit --register=no --private-users=no \
        --machine=@NAME@ --directory="$root" \
        --network-namespace-path=/run/netns/fixture-@NAME@ \
        --bind="${RUN_NSPAWN_SHARED_DIR:-/tmp}:/tmp/shared" \
        /sbin/init
) &
nspawn=$!
status=0
wait $nspawn || status=$?
ip netns delete fixture-@NAME@
exit $status
