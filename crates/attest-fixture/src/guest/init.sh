#!/bin/busybox sh
# PID 1: as much of a system as tests of a NixOS backdoor need.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=0755 tmpfs /run
ln -s /proc/self/fd /dev/fd

while IFS='	' read -r files devices; do
    for file in $files; do insmod "$file" 2>/dev/null; done
done < /lib/attest/modules

for word in $(cat /proc/cmdline); do
    case $word in
        fixture.name=*) hostname "${word#*=}" ;;
    esac
done

# The first card has what QEMU's user network gives; the hardware address of each other says its VLAN
# and the machine's number, in hexadecimal digits.
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
/lib/fixture/cards

for share in xchg shared; do
    mkdir -p "/tmp/$share"
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072 "$share" "/tmp/$share"
done 2>/dev/null

# What busybox's poweroff, reboot and the keys ctrl-alt-delete say to PID 1.
trap 'sync; poweroff -f' USR2
trap 'sync; reboot -f' TERM INT
echo 0 > /proc/sys/kernel/ctrl-alt-del

again() { while :; do setsid "$@"; done; }
again /lib/fixture/backdoor &
again /lib/fixture/login &
echo "fixture: booted"
echo "fixture: booted" > /dev/ttyS0
while :; do wait; done
