"""An installation: a disk, a reboot into it, and machines that share the disk."""
# needs: nixos
import os
import subprocess
import tempfile
from pathlib import Path

# `os` is the real module, and the script may use the host's programs.
tmp = Path(tempfile.mkdtemp())
subprocess.run(["truncate", "-s", "1G", tmp / "disk.img"], check=True)
assert os.path.getsize(tmp / "disk.img") == 1 << 30


def create_machine_named(name: str, *, flags: str = "") -> Machine:
    return create_machine(f"{machine.start_command} {flags}", name=name)


with subtest("partition and install"):
    machine.start()
    machine.wait_for_unit("multi-user.target")
    machine.succeed(
        "flock /dev/vda parted --script /dev/vda -- mklabel msdos"
        " mkpart primary linux-swap 1M 1024M"
        " mkpart primary ext2 1024M -1s",
        "udevadm settle",
        "mkfs.ext3 -L nixos /dev/vda2",
        "mount LABEL=nixos /mnt",
        "mkdir -p /mnt/tmp",
    )
    machine.copy_from_host(str(tmp / "disk.img"), "/mnt/etc/config/disk.img")
    machine.succeed("install-system --root /mnt < /dev/null >&2")
    machine.succeed("umount -R /mnt", "sync")
    machine.shutdown()

with subtest("boot what was installed"):
    installed = create_machine_named("installed", flags="-drive file=disk.img")
    installed.start(allow_reboot=True)
    installed.wait_for_console_text("reached target|Reached target")
    installed.wait_for_unit("local-fs.target")
    kernel = installed.succeed("uname -r").strip()
    assert kernel.split(".")[0].isdigit()
    installed.reboot()
    installed.connected = False
    installed.wait_for_unit("multi-user.target")
    state = installed.get_unit_property("systemd-fsck-root.service", "ActiveState")
    assert state in ("active", "inactive")
    installed.shutdown()
    installed.cleanup_statedir()
