"""The errors of this package.

What a script meets is one of two things: :class:`RequestedAssertionFailed`, something that the
script asked for is not so (a command failed, a wait timed out, a unit failed), or
:class:`MachineError`, the machine or what carries it broke. The two are never mixed up, so that a
broken host is not taken for a failed test.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "InterruptedBySnapshot",
    "MachineError",
    "PollingConditionError",
    "ProtocolError",
    "RequestedAssertionFailed",
    "RpcError",
    "ScriptError",
    "ServerGone",
    "SnapshotsUnsupported",
    "TestScriptError",
]


class TestScriptError(Exception):
    """The base of the errors whose traceback shows the frames of the script only."""

    # Not a test, whatever pytest thinks of its name.
    __test__ = False

    #: The machine that it is about, when it is about one.
    machine: str | None = None
    #: What attest saw last before it gave up, when it waited for something.
    last_seen: str | None = None


class RequestedAssertionFailed(TestScriptError):
    """What the script demanded is not so.

    After a command, ``status``, ``stdout`` and ``stderr`` say how it ended; else they are None.
    """

    status: int | None = None
    stdout: str | None = None
    stderr: str | None = None


class MachineError(TestScriptError):
    """A machine, or what it runs on, broke or does not have what was asked for."""


class InterruptedBySnapshot(MachineError):
    """A command, wait or copy was going on when its machine was saved or put back, which ended it.

    Save a lab when nothing goes on in it, or try again.
    """


class SnapshotsUnsupported(MachineError):
    """A machine's backend cannot save it: boot a fresh lab instead."""


class PollingConditionError(Exception):
    """A polling condition of the script does not hold any more."""


class ScriptError(SyntaxError):
    """The set-ups and tests of a script are not written as attest can run them."""


class RpcError(Exception):
    """attest refused a call, or could not do it.

    ``code`` is the number of JSON-RPC, ``kind`` attest's own word for the cause (such as
    ``timed-out`` or ``unsupported``; empty when attest gave none).
    """

    def __init__(self, message: str, code: int, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        data = data or {}
        self.code = code
        self.message = message
        self.kind = str(data.get("kind", ""))
        machine = data.get("machine")
        self.machine: str | None = None if machine is None else str(machine)
        last_seen = data.get("last_seen")
        self.last_seen: str | None = None if last_seen is None else str(last_seen)
        detail = data.get("detail")
        self.detail: dict[str, Any] = detail if isinstance(detail, dict) else {}


class ServerGone(MachineError):
    """The connection to attest ended: attest was stopped, timed out, or died."""


class ProtocolError(MachineError):
    """attest's answer makes no sense: the two ends are of versions that do not fit."""
