"""The surface of NixOS's test driver, method for method."""

from __future__ import annotations

from ..errors import (
    MachineError,
    PollingConditionError,
    RequestedAssertionFailed,
    TestScriptError,
)
from .base import BaseMachine
from .driver import Driver
from .logger import Logger, LogLevel
from .nspawn import NspawnMachine
from .qemu import QemuMachine
from .retrying import retry
from .vlan import VLan

#: The name that older scripts know.
Machine = QemuMachine

__all__ = [
    "BaseMachine",
    "Driver",
    "LogLevel",
    "Logger",
    "Machine",
    "MachineError",
    "NspawnMachine",
    "PollingConditionError",
    "QemuMachine",
    "RequestedAssertionFailed",
    "TestScriptError",
    "VLan",
    "retry",
]
