#!/bin/bash
set -e

# Outside of tests, what the machine writes goes to a directory that nobody else uses.
if test -z "$TMPDIR" || test -z "$USE_TMPDIR"; then
    TMPDIR=$(mktemp -d -t attest-fixture.XXXXXXXXXX)
fi
mkdir -p "$TMPDIR/xchg"

# The machine's disk stays where the script was started.
NIX_DISK_IMAGE=$(readlink -f "${NIX_DISK_IMAGE:-./@NAME@.img}")
test -e "$NIX_DISK_IMAGE" || truncate -s 64M "$NIX_DISK_IMAGE"

cd "$TMPDIR"

exec qemu-system-x86_64 \
    -machine pc,accel=@ACCELERATOR@ \
    -cpu max \
    -name @NAME@ \
    -m @MEMORY@ \
    -smp 1 \
    -device virtio-net-pci,netdev=user.0 \
    -netdev user,id=user.0,restrict=on,"$QEMU_NET_OPTS" \
    @CARDS@
    -virtfs local,path="$TMPDIR/xchg",security_model=none,mount_tag=xchg \
    -virtfs local,path="${SHARED_DIR:-$TMPDIR/xchg}",security_model=none,mount_tag=shared \
    @ROOT@
    -drive file="$NIX_DISK_IMAGE",format=raw,if=none,id=drive1 \
    -device virtio-blk-pci,drive=drive1 \
    -kernel @KERNEL@ \
    -initrd @INITRD@ \
    -append "console=ttyS0 console=tty0 panic=1 quiet fixture.name=@NAME@ @ARGUMENTS@ $QEMU_KERNEL_PARAMS" \
    $QEMU_OPTS \
    "$@"
