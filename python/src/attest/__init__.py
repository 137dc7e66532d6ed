"""Drive whole systems: labs of machines that attest boots.

The members of this package are loaded when they are used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import (
        MachineError,
        PollingConditionError,
        ProtocolError,
        RequestedAssertionFailed,
        RpcError,
        ServerGone,
    )

__version__ = "0.1.0"

__all__ = [
    "MachineError",
    "PollingConditionError",
    "ProtocolError",
    "RequestedAssertionFailed",
    "RpcError",
    "ServerGone",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import errors

    value: object = getattr(errors, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
