#!/bin/busybox sh
# PID 1 of the initramfs: from there into a Debian, whose root is below, with memory above.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

while IFS='	' read -r files devices; do
    for file in $files; do insmod "$file" 2>/dev/null; done
done < /lib/attest/modules

mkdir -p /below /above /whole
mount -t erofs -o ro /dev/vda /below
mount -t tmpfs tmpfs /above
mkdir /above/upper /above/work
mount -t overlay -o lowerdir=/below,upperdir=/above/upper,workdir=/above/work overlay /whole
# What is this machine's alone came with the initramfs.
test -d /new && cp -a /new/. /whole/
for word in $(cat /proc/cmdline); do
    case $word in
        fixture.name=*) echo "${word#*=}" > /whole/etc/hostname ;;
        fixture.modules=*)
            modules=/whole/usr/lib/modules/$(uname -r)
            mkdir -p "$modules"
            mount -t erofs -o ro "/dev/${word#*=}" "$modules"
            ;;
    esac
done
for each in dev proc sys; do mount --move "/$each" "/whole/$each"; done
exec switch_root /whole /sbin/init
