"""The types of the globals of NixOS's test scripts."""

import os as os
from collections.abc import Callable
from typing import Any, overload

from .nixos import BaseMachine as BaseMachine
from .nixos import Driver, Logger, VLan
from .nixos import Machine as Machine
from .nixos import NspawnMachine as NspawnMachine
from .nixos import QemuMachine as QemuMachine
from .nixos import retry as retry
from .nixos.debug import DebugNop
from .nixos.logger import Nested
from .nixos.polling import Condition, Poll
from .nixos.testcase import AssertionTester

driver: Driver
log: Logger
t: AssertionTester
debug: DebugNop
machine: QemuMachine
machines: list[QemuMachine | NspawnMachine]
machines_qemu: list[QemuMachine]
machines_nspawn: list[NspawnMachine]
vlans: list[VLan]
vlan1: VLan
vlan2: VLan
vlan3: VLan

def start_all() -> None: ...
def join_all() -> None: ...
def test_script() -> None: ...
def run_tests() -> None: ...
def serial_stdout_on() -> None: ...
def serial_stdout_off() -> None: ...
def subtest(name: str) -> Nested: ...
def create_machine(
    start_command: str | dict[str, Any],
    *,
    name: str | None = None,
    keep_machine_state: bool = False,
    keep_vm_state: bool = False,
) -> QemuMachine: ...
def dump_machine_ssh(offset: int) -> None: ...
@overload
def polling_condition(
    fun_: None = None, *, seconds_interval: float = 2.0, description: str | None = None
) -> Callable[[Condition], Poll]: ...
@overload
def polling_condition(
    fun_: Condition, *, seconds_interval: float = 2.0, description: str | None = None
) -> Poll: ...
