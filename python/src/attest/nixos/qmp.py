"""QEMU's machine protocol, through attest's connection to it."""

from __future__ import annotations

from .._values import seconds, text
from ..errors import RpcError

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from .._values import Timeout
    from .qemu import QemuMachine


class QMPAPIError(RuntimeError):
    """QEMU refused a command: ``class_name`` and ``description`` are its own words."""

    def __init__(self, class_name: str, description: str) -> None:
        super().__init__(f"<QMP API error [{class_name}]: {description}>")
        self.class_name = class_name
        self.description = description


class QMPSession:
    """Commands to QEMU, and its events."""

    def __init__(self, machine: QemuMachine) -> None:
        self._machine = machine

    def send(self, cmd: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Runs a command: QEMU's whole answer, with the member ``return``.

        Raises QMPAPIError when QEMU refuses.
        """
        params = {"execute": text(cmd, "a QMP command"), "arguments": dict(args or {})}
        try:
            reply = self._machine._rpc("machine.qmp", params)
        except RpcError as error:
            if error.kind == "command":
                name = str(error.detail.get("class", "GenericError"))
                raise QMPAPIError(name, str(error.detail.get("desc", error.message))) from None
            raise self._machine._failure(error) from None
        return {"return": reply.get("return")}

    def wait_for_event(self, timeout: Timeout = 10) -> dict[str, Any]:
        """The next event. Raises TimeoutError when there is none in time (10 seconds)."""
        return self._machine._next_event(seconds(timeout))

    def events(self, timeout: Timeout = 10) -> Iterator[dict[str, Any]]:
        """The events that there are, without waiting for more."""
        del timeout
        self._machine._more_events(wait=False, left=None)
        while self._machine._events:
            yield self._machine._events.pop(0)

    def close(self) -> None:
        """Does nothing: the connection is attest's."""
