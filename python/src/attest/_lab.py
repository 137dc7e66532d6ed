"""Labs: the machines and networks of one test, alive together."""

from __future__ import annotations

import os

from ._machine import Machine
from ._session import Session
from ._snapshots import Snapshot, call, let_go
from .nixos.driver import pythonize_name
from .nixos.logger import Logger
from .nixos.surroundings import Surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Any

    from ._rpc import Client

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True


def lab(
    manifest: str | os.PathLike[str] = ".",
    *,
    backend: str | None = None,
    output: str | os.PathLike[str] | None = None,
    start: bool = True,
    snapshots: str | None = None,
    session: Session | None = None,
) -> Lab:
    """Makes the lab of a manifest.

    ``manifest`` is the path of an ``attest.toml``, or of the directory that holds one (the
    current directory). ``backend`` takes the place of the manifest's backends, such as ``"qemu"``;
    ``output`` is the directory of results (attest makes one by default). The machines have booted
    and are ready when this returns, unless ``start`` is false. They go on from where an equal lab
    had booted before, where it was saved: ``snapshots="never"`` lets them boot, ``"needed"`` saves
    none that is not there, ``"rebuild"`` saves them anew (otherwise, as ``ATTEST_SNAPSHOTS`` says).

    The lab has an ``attest`` of its own unless a ``session`` is given. It ends with `Lab.close`,
    at the end of ``with``, or with this process.

    Raises MachineError when the manifest is wrong or a machine does not boot.
    """
    own = session is None
    if session is None:
        session = Session()
    params: dict[str, Any] = {"manifest": os.path.abspath(os.fspath(manifest)), "start": start}
    if backend is not None:
        params["backend"] = backend
    if snapshots is not None:
        params["snapshots"] = snapshots
    if output is not None:
        params["output"] = os.path.abspath(os.fspath(output))
    try:
        described = call(session.client, "lab.open", params)
    except BaseException:
        if own:
            session.close()
        raise
    return Lab(session.client, described, session if own else None)


class Lab:
    """A lab. ``lab["web"]`` is a machine of it, iteration gives all of them by name."""

    def __init__(
        self,
        client: Client,
        described: dict[str, Any],
        session: Session | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._client = client
        # Ends with the lab, when there is one.
        self._session = session
        self._id = int(described.get("id", 1))
        self._output = str(described.get("output") or ".")
        self._closed = False
        if surroundings is None:
            logger = Logger(client, exit_on_error=False)
            surroundings = Surroundings(client, logger, self._output)
        #: The log of the test.
        self.log: Logger = surroundings.logger
        self._machines: dict[str, Machine] = {}
        for machine in described.get("machines") or []:
            made = Machine(surroundings, {"lab": self._id, **machine})
            self._machines[made.name] = made
        #: The names of the networks.
        self.networks: list[str] = [
            str(network["name"]) for network in described.get("networks") or []
        ]

    def __repr__(self) -> str:
        return f"<Lab of {', '.join(self._machines) or 'no machines'}>"

    def machine(self, name: str) -> Machine:
        """The machine of this name; ``web_1`` is also ``web-1``, as names of Python have no dash.

        Raises KeyError, with the names that there are.
        """
        found = self._machines.get(name)
        if found is None:
            alike = [one for one in self._machines.values() if pythonize_name(one.name) == name]
            if len(alike) != 1:
                names = ", ".join(f"`{one}`" for one in self._machines) or "none"
                raise KeyError(f"the lab has no machine `{name}`; it has {names}")
            found = alike[0]
        return found

    __getitem__ = machine

    def __contains__(self, name: object) -> bool:
        return name in self._machines

    def __iter__(self) -> Iterator[Machine]:
        return iter([self._machines[name] for name in sorted(self._machines)])

    def __len__(self) -> int:
        return len(self._machines)

    @property
    def names(self) -> list[str]:
        """The names of the machines, sorted."""
        return sorted(self._machines)

    @property
    def output(self) -> Path:
        """The directory of results, on the host."""
        from pathlib import Path

        return Path(self._output)

    def start(self) -> None:
        """Starts all machines at once, and waits until all are ready.

        Raises MachineError when one of them does not boot.
        """
        call(self._client, "lab.start", {"lab": self._id})

    def snapshot(self) -> Snapshot:
        """Saves all machines and networks as they are at this moment; the lab goes on.

        Raises InterruptedBySnapshot in commands, waits and copies that go on, SnapshotsUnsupported
        when a machine's backend cannot be saved.
        """
        saved = call(self._client, "lab.snapshot", {"lab": self._id})
        return Snapshot(self._client, saved, self)

    def restore(self, snapshot: Snapshot) -> None:
        """Puts the lab back to where it was saved.

        Connections between its machines live on. Raises InterruptedBySnapshot in commands, waits
        and copies that go on.
        """
        call(self._client, "lab.restore", {"lab": self._id, "snapshot": snapshot._id})
        for machine in self:
            machine._was_put_back()

    def fork(self) -> Lab:
        """One more lab that begins as this one is now: ``with lab.fork() as other: …``.

        It has the same names and addresses, and neither sees the other. It raises what `snapshot`
        raises.
        """
        return self._fork({"lab": self._id})

    def _fork(self, of: dict[str, Any]) -> Lab:
        described = call(self._client, "lab.fork", of)
        output = str(described.get("output") or self._output)
        return Lab(self._client, described, None, Surroundings(self._client, self.log, output))

    def close(self) -> None:
        """Ends all machines. A lab that is closed already is left alone."""
        if self._closed:
            return
        self._closed = True
        try:
            let_go(self._client, "lab.close", {"lab": self._id})
        finally:
            if self._session is not None:
                self._session.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
