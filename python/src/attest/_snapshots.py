"""Saved labs and machines."""

from __future__ import annotations

from .errors import MachineError, RpcError, ServerGone, SnapshotsUnsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, TypeVar

    from ._lab import Lab
    from ._rpc import Client

    Self = TypeVar("Self", bound="Saved")

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

#: The method is unknown: an attest that is older than this package.
_UNKNOWN = -32601


def call(client: Client, method: str, params: dict[str, Any]) -> Any:
    """A call about a lab or what was saved: its result.

    Raises SnapshotsUnsupported where nothing can be saved, MachineError for all else.
    """
    try:
        return client.call(method, params).result
    except RpcError as error:
        is_unsupported = error.kind == "unsupported" or error.code == _UNKNOWN
        failure = (SnapshotsUnsupported if is_unsupported else MachineError)(error.message)
        failure.machine = error.machine
        raise failure from None


def let_go(client: Client, method: str, params: dict[str, Any]) -> None:
    """The same for what attest holds for this process; with attest, it is gone."""
    try:
        if not client.closed:
            call(client, method, params)
    except ServerGone:
        pass


class Saved:
    """Something that was saved. It is kept until `drop`, the end of ``with``, or that of attest."""

    def __init__(self, client: Client, described: dict[str, Any]) -> None:
        self._client = client
        self._id = int(described["id"])
        self._dropped = False

    def drop(self) -> None:
        """Forgets what was saved; labs that were made of it go on."""
        if self._dropped:
            return
        self._dropped = True
        let_go(self._client, "snapshot.drop", {"snapshot": self._id})

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drop()


class MachineSnapshot(Saved):
    """A machine as it was, for `Machine.restore`."""


class Snapshot(Saved):
    """A lab as it was: all machines at one moment, and what was on its way between them."""

    def __init__(self, client: Client, described: dict[str, Any], lab: Lab) -> None:
        super().__init__(client, described)
        self._lab = lab

    def fork(self) -> Lab:
        """One more lab that begins as this one was saved: ``with snapshot.fork() as lab: …``.

        It has the same names and addresses, and neither sees the other. Raises MachineError when
        it cannot be made.
        """
        return self._lab._fork({"snapshot": self._id})
