"""Start commands as the oldest scripts describe them: a dictionary instead of a program."""

from __future__ import annotations

from .._values import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def command_of(described: Mapping[str, Any]) -> str:
    """The shell command of QEMU that such a dictionary stands for.

    Its keys are ``netBackendArgs``, ``netFrontendArgs``, ``hda``, ``hdaInterface``, ``cdrom``,
    ``usb``, ``bios``, ``qemuBinary`` and ``qemuFlags``; all may be missing.
    """

    def given(name: str) -> str:
        return str(described.get(name) or "")

    def more(name: str) -> str:
        return f",{given(name)}" if given(name) else ""

    words = [
        given("qemuBinary") or "qemu-kvm",
        "-m 384",
        f"-netdev user,id=net0{more('netBackendArgs')}",
        f"-device virtio-net-pci,netdev=net0{more('netFrontendArgs')}",
    ]
    if given("hda"):
        words += _disk(given("hda"), given("hdaInterface"))
    if given("cdrom"):
        words.append(f"-cdrom {quote(given('cdrom'))}")
    if given("usb"):
        drive = quote(f"id=usbdisk,file={given('usb')},if=none,readonly=on")
        words.append(f"-device usb-ehci -drive {drive} -device usb-storage,drive=usbdisk")
    if given("bios"):
        words.append(f"-bios {quote(given('bios'))}")
    words.append(given("qemuFlags"))
    return " ".join(word for word in words if word)


def _disk(path: str, interface: str) -> list[str]:
    import os

    path = os.path.realpath(path)
    if interface == "scsi":
        drive = quote(f"id=hda,file={path},werror=report,if=none")
        return [f"-drive {drive}", "-device scsi-hd,drive=hda"]
    bus = f",if={interface}" if interface else ""
    drive = quote(f"file={path}{bus},werror=report")
    return [f"-drive {drive}"]
