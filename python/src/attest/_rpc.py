"""JSON-RPC 2.0 with attest over one Unix stream socket.

Calls of several threads run at once. There is no thread for reading: one of the threads that wait
reads for all of them, and when it has its own answer, another one takes over. A call so costs no
switch between threads when there is only one.

A KeyboardInterrupt can come between any two byte codes. What must not be torn apart by it (read
and keep, write and forget) is one chain of C functions, between which Python runs no signal
handlers; all else can be done twice without harm.
"""

from __future__ import annotations

import json
import os
from _thread import RLock, allocate_lock
from time import monotonic

from .errors import ProtocolError, RpcError, ServerGone

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Sequence
    from typing import Any, Callable

    #: Does what is due, and says in how many seconds something will be due again.
    Tick = Callable[[], "float | None"]
    Notified = Callable[[str, "dict[str, Any]"], None]

#: The newest generation of the protocol that this client speaks.
GENERATION = 1
CLIENT = "attest-python/0.1.0"

#: Bounds of the wire: a line, and all attachments of a message, in bytes.
MAX_LINE = 16 << 20
MAX_ATTACHMENTS = 1 << 30
#: A text of so many characters fits into a line, whatever JSON makes of them.
MAX_TEXT = 1 << 20

_CHUNK = 1 << 18
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Reply:
    """The answer to a call: its result, and the binary data that came with it."""

    __slots__ = ("attachments", "result")

    def __init__(self, result: Any, attachments: list[bytes]) -> None:
        self.result = result
        self.attachments = attachments

    def get(self, name: str) -> Any:
        """A member of the result.

        Raises ProtocolError if there is none.
        """
        try:
            return self.result[name]
        except (KeyError, TypeError, IndexError):
            raise ProtocolError(
                f"the answer of attest has no `{name}`: {_shorten(self.result)}"
            ) from None

    def attachment(self, index: int) -> bytes:
        """The binary data at this position.

        Raises ProtocolError if there is none.
        """
        try:
            return self.attachments[index]
        except IndexError:
            raise ProtocolError(
                f"the answer of attest has {len(self.attachments)} attachments, "
                f"not the {index + 1} that are needed"
            ) from None


class Pending:
    """A call that was sent and waits for its answer."""

    __slots__ = ("attachments", "done", "error", "id", "lock", "method", "result")

    def __init__(self, number: int, method: str) -> None:
        self.id = number
        self.method = method
        self.done = False
        self.lock: LockType | None = None
        self.result: Any = None
        self.attachments: list[bytes] = []
        self.error: Exception | None = None


class Client:
    """One end of the connection; any number of threads may use it.

    ``fd`` is the socket, which the client owns from now on and does not hand to child processes.
    ``notified`` is called with the method and the parameters of each notification, in the thread
    that happens to read.
    """

    def __init__(self, fd: int, notified: Notified | None = None) -> None:
        self._fd = fd
        self._notified = notified
        self._state = RLock()
        self._writing = RLock()
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._needed = 0
        self._next_id = 0
        self._pending: dict[int, Pending] = {}
        self._parked: list[Pending] = []
        self._reader: Pending | None = None
        self._ended: Exception | None = None
        os.set_inheritable(fd, False)
        _clients[id(self)] = self

    # What callers use.

    def hello(self) -> dict[str, Any]:
        """Agrees on a generation of the protocol; must be the first call."""
        result = self.call("hello", {"generation": GENERATION, "client": CLIENT}).result
        if not isinstance(result, dict) or not isinstance(result.get("generation"), int):
            raise ProtocolError(f"attest does not say its generation: {_shorten(result)}")
        if result["generation"] != GENERATION:
            raise ProtocolError(
                f"attest speaks generation {result['generation']} of its protocol, this package "
                f"generation {GENERATION}: use the package that came with attest"
            )
        return result

    def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        attachments: Sequence[bytes] = (),
        tick: Tick | None = None,
    ) -> Reply:
        """Makes a call and waits for its answer.

        While it waits, ``tick`` is called when it is due; if it raises, the call is cancelled.

        Raises RpcError when attest refuses, ServerGone when the connection ends, ProtocolError
        when the answer makes no sense, ValueError when the parameters cannot be sent.
        """
        return self.finish(self.begin(method, params, attachments), tick)

    def begin(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        attachments: Sequence[bytes] = (),
    ) -> Pending:
        """Sends a call without waiting for its answer: each one must be given to `finish`."""
        with self._state:
            number = self._next_id
            self._next_id = number + 1
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
        data = _message(message, attachments)
        pending = Pending(number, method)
        with self._state:
            if self._ended is not None:
                raise _again(self._ended)
            self._pending[number] = pending
        try:
            self._send(data)
        except BaseException:
            self._abandon(pending)
            raise
        return pending

    def finish(self, pending: Pending, tick: Tick | None = None) -> Reply:
        """Waits for the answer to a call that was begun."""
        try:
            if tick is None:
                self._wait(pending, None)
            else:
                answered = pending.done
                while not answered:
                    delay = tick()
                    answered = self._wait(
                        pending, None if delay is None else monotonic() + max(delay, 0.001)
                    )
        except BaseException:
            self._abandon(pending)
            raise
        if pending.error is not None:
            raise pending.error
        return Reply(pending.result, pending.attachments)

    def notify(self, method: str, params: dict[str, Any], flush: bool = True) -> None:
        """Sends a notification; without ``flush``, together with what is sent next."""
        text = _encode({"jsonrpc": "2.0", "method": method, "params": params})
        # A log line with half a character in it is still a log line.
        data = _bounded(text.encode("utf-8", "replace"), method)
        if flush:
            self._send(data)
        else:
            with self._writing:
                self._outgoing += data

    def flush(self) -> None:
        """Sends what `notify` kept back."""
        self._send(b"")

    def close(self) -> None:
        """Ends the connection. Whoever waits for an answer gets ServerGone."""
        with self._state:
            if self._fd < 0:
                return
            _clients.pop(id(self), None)
            fd, self._fd = self._fd, -1
        # The thread that reads holds the descriptor: it must see the end before it is closed.
        import socket

        connection = socket.socket(fileno=fd)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._end(ServerGone("the connection to attest is closed"))
        connection.close()

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._ended is not None

    # Sending.

    def _send(self, data: bytes) -> None:
        outgoing = self._outgoing
        with self._writing:
            outgoing += data
            try:
                while outgoing:
                    # One chain in C: what was written is forgotten, or neither happens.
                    any(
                        map(
                            outgoing.__delitem__,
                            map(slice, map(os.write, (self._fd,), (outgoing,))),
                        )
                    )
            except OSError as error:
                self._end(ServerGone(f"attest is gone: {error.strerror}"))
                assert self._ended is not None
                raise _again(self._ended) from None

    def _abandon(self, pending: Pending) -> None:
        """Nobody waits for this call any more: cancels it, and lets another thread read."""
        with self._state:
            waiting = self._pending.pop(pending.id, None) is not None
            if self._reader is pending:
                self._reader = None
            if pending in self._parked:
                self._parked.remove(pending)
            self._wake_a_reader()
        if waiting and self._ended is None:
            try:
                self.notify("cancel", {"id": pending.id})
            except ServerGone:
                pass

    # Waiting and reading.

    def _wait(self, pending: Pending, deadline: float | None) -> bool:
        """Waits for an answer, until the deadline: whether it came."""
        while not pending.done:
            with self._state:
                if pending.done:
                    break
                if self._reader is None:
                    self._reader = pending
                else:
                    if pending.lock is None:
                        pending.lock = allocate_lock()
                        pending.lock.acquire()
                    self._parked.append(pending)
            if self._reader is not pending:
                if not self._sleep(pending, deadline):
                    return False
            else:
                came = self._read_for(pending, deadline)
                with self._state:
                    self._reader = None
                    self._wake_a_reader()
                if not came:
                    return False
        return True

    def _read_for(self, pending: Pending, deadline: float | None) -> bool:
        while not pending.done:
            if deadline is not None and not self._readable(deadline - monotonic()):
                return False
            self._receive()
        return True

    def _sleep(self, pending: Pending, deadline: float | None) -> bool:
        """Sleeps until the answer is here or this thread must read: false at the deadline."""
        assert pending.lock is not None
        if deadline is None:
            pending.lock.acquire()
            return True
        if pending.lock.acquire(timeout=max(0.0, deadline - monotonic())):
            return True
        with self._state:
            if pending not in self._parked:
                # Woken at the same instant: the lock must be held again for the next sleep.
                pending.lock.acquire(blocking=False)
                return True
            self._parked.remove(pending)
        return False

    def _wake_a_reader(self) -> None:
        """Lets a thread that sleeps read, when none does. The state must be held."""
        if self._reader is None and self._parked:
            self._wake(self._parked[0])

    def _wake(self, pending: Pending) -> None:
        if pending in self._parked:
            self._parked.remove(pending)
            assert pending.lock is not None
            pending.lock.release()

    def _readable(self, seconds: float) -> bool:
        import select

        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def _receive(self) -> None:
        """Reads what there is, waiting for something, and hands out whole messages."""
        incoming = self._incoming
        # What came before an interruption may still wait here.
        if self._take_messages():
            return
        before = len(incoming)
        try:
            # One chain in C: what was read is kept.
            any(map(incoming.extend, map(os.read, (self._fd,), (_CHUNK,))))
        except OSError as error:
            self._end(ServerGone(f"attest is gone: {error.strerror}"))
            return
        if len(incoming) == before:
            how = "in the middle of an answer" if incoming else "it ended or was stopped"
            self._end(ServerGone(f"attest is gone: {how}"))
            return
        self._take_messages()

    def _take_messages(self) -> bool:
        """Hands out the whole messages that were read: whether there were any."""
        some = False
        incoming = self._incoming
        try:
            while len(incoming) > self._needed:
                size = self._take_message()
                if size == 0:
                    break
                # After it was handed out: an interruption hands it out again, to nobody.
                self._needed = 0
                del incoming[:size]
                some = True
        except ProtocolError as error:
            self._end(error)
            return True
        return some

    def _take_message(self) -> int:
        """Hands out the first message: its size, or 0 when it is not there as a whole."""
        incoming = self._incoming
        line = incoming.find(b"\n") + 1
        if line == 0:
            if len(incoming) > MAX_LINE:
                raise ProtocolError(f"attest sent a line of more than {MAX_LINE} bytes")
            return 0
        try:
            message = json.loads(incoming[:line].decode())
        except ValueError as error:
            raise ProtocolError(
                f"attest sent what is no JSON ({error}): {_shorten(bytes(incoming[:line]))}"
            ) from None
        if not isinstance(message, dict):
            raise ProtocolError(f"attest sent what is no message: {_shorten(message)}")
        sizes = message.get("attachments", [])
        if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes):
            raise ProtocolError(f"attest sent attachments of no size: {_shorten(sizes)}")
        end = line + sum(sizes)
        if end - line > MAX_ATTACHMENTS:
            raise ProtocolError(f"attest sent more than {MAX_ATTACHMENTS} bytes of attachments")
        if len(incoming) < end:
            self._needed = end - 1
            return 0
        attachments = []
        at = line
        for size in sizes:
            attachments.append(bytes(incoming[at : at + size]))
            at += size
        self._deliver(message, attachments)
        return end

    def _deliver(self, message: dict[str, Any], attachments: list[bytes]) -> None:
        if "method" in message:
            if self._notified is not None:
                params = message.get("params")
                self._notified(str(message["method"]), params if isinstance(params, dict) else {})
            return
        number = message.get("id")
        error = message.get("error")
        if number is None and isinstance(error, dict):
            raise ProtocolError(f"attest did not understand this package: {error.get('message')}")
        if type(number) is not int:
            raise ProtocolError(f"attest sent an answer to no call: {_shorten(message)}")
        with self._state:
            pending = self._pending.pop(number, None)
            if pending is None:
                # An answer that came after the call was cancelled.
                return
            if error is not None:
                pending.error = _error(error)
            elif "result" in message:
                pending.result = message["result"]
                pending.attachments = attachments
            else:
                pending.error = ProtocolError(
                    f"attest's answer to `{pending.method}` has no result: {_shorten(message)}"
                )
            pending.done = True
            self._wake(pending)

    def _end(self, error: Exception) -> None:
        """The connection is of no use any more: tells all who wait."""
        with self._state:
            if self._ended is None:
                self._ended = error
            for pending in list(self._pending.values()):
                pending.error = _again(self._ended)
                pending.done = True
                self._wake(pending)
            self._pending.clear()

    def _forked(self) -> None:
        # The child's copy: two processes on one stream would tear each other's messages apart.
        self._state = RLock()
        self._writing = RLock()
        self._outgoing = bytearray()
        if self._fd >= 0:
            # attest shall see the end of the other process, however long this one lives.
            os.close(self._fd)
            self._fd = -1
        self._end(ServerGone("only the process that attest started can drive machines, no fork"))


_clients: dict[int, Client] = {}


def _forked() -> None:
    for client in _clients.values():
        client._forked()


os.register_at_fork(after_in_child=_forked)


def _message(message: dict[str, Any], attachments: Sequence[bytes]) -> bytes:
    method = str(message["method"])
    if not attachments:
        return _bounded(_encode(message).encode(), method)
    sizes = message["attachments"] = [len(data) for data in attachments]
    if sum(sizes) > MAX_ATTACHMENTS:
        raise ValueError(
            f"`{method}` with {sum(sizes)} bytes of data: attest takes {MAX_ATTACHMENTS}"
        )
    return b"".join((_bounded(_encode(message).encode(), method), *attachments))


def _bounded(line: bytes, method: str) -> bytes:
    """The line with its end. What attest would refuse to read must not end the connection."""
    if len(line) >= MAX_LINE:
        raise ValueError(f"`{method}` is {len(line)} bytes long: attest takes {MAX_LINE}")
    return line + b"\n"


def _error(error: Any) -> Exception:
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return ProtocolError(f"attest sent an error that says nothing: {_shorten(error)}")
    code = error.get("code")
    data = error.get("data")
    return RpcError(
        error["message"],
        code if isinstance(code, int) else 0,
        data if isinstance(data, dict) else None,
    )


def _again(error: Exception) -> Exception:
    """A new error of the same kind: one object that is raised twice mixes its tracebacks up."""
    return type(error)(*error.args)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
