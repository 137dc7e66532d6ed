"""The types of the globals of NixOS's test scripts, for type checkers: see ``testscript.pyi``.

To check a script, put ``from attest.testscript import *`` before it, and import its machines from a
stub of your own, with lines such as ``server: QemuMachine``. Nothing of this is needed to run it.
"""

from __future__ import annotations

import os

from .nixos import BaseMachine, Machine, NspawnMachine, QemuMachine, retry

__all__ = ["BaseMachine", "Machine", "NspawnMachine", "QemuMachine", "os", "retry"]
