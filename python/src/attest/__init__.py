"""Drive whole systems: labs of machines that attest boots.

    import attest

    with attest.lab("attest.toml") as lab:
        lab["server"].wait_for_open_port(80)
        print(lab["client"].succeed("wget -qO- http://server/"))

The members of this package are loaded when they are used. `attest.nixos` is the surface of
NixOS's test driver.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._lab import Lab, lab
    from ._machine import CompletedCommand, Machine
    from ._marks import setup, test
    from ._session import Session
    from ._snapshots import MachineSnapshot, Snapshot
    from .errors import (
        InterruptedBySnapshot,
        MachineError,
        PollingConditionError,
        ProtocolError,
        RequestedAssertionFailed,
        RpcError,
        ScriptError,
        ServerGone,
        SnapshotsUnsupported,
    )
    from .nixos.retrying import retry

__version__ = "0.1.0"

__all__ = [
    "CompletedCommand",
    "InterruptedBySnapshot",
    "Lab",
    "Machine",
    "MachineError",
    "MachineSnapshot",
    "PollingConditionError",
    "ProtocolError",
    "RequestedAssertionFailed",
    "RpcError",
    "ScriptError",
    "ServerGone",
    "Session",
    "Snapshot",
    "SnapshotsUnsupported",
    "lab",
    "retry",
    "setup",
    "test",
]

_PLACES = {
    "CompletedCommand": "._machine",
    "Lab": "._lab",
    "Machine": "._machine",
    "MachineSnapshot": "._snapshots",
    "Session": "._session",
    "Snapshot": "._snapshots",
    "lab": "._lab",
    "retry": ".nixos.retrying",
    "setup": "._marks",
    "test": "._marks",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    place = import_module(_PLACES.get(name, ".errors"), __name__)
    value: object = getattr(place, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
