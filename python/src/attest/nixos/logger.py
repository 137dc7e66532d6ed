"""The log of a script. attest writes it, to the terminal and to whatever report was asked for."""

from __future__ import annotations

import sys
from enum import IntEnum

from .._rpc import MAX_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from .._rpc import Client

    _F = TypeVar("_F", bound=Callable[..., Any])

_NONE: dict[str, str] = {}


class LogLevel(IntEnum):
    """How important a line is."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4


class Nested:
    """A part of the log with a heading: ``with log.nested("installing"): …``.

    It can stand as a decorator, too.
    """

    def __init__(
        self,
        logger: Logger,
        message: str,
        attributes: Mapping[str, str] = _NONE,
        subtest: bool = False,
        flush: bool = True,
    ) -> None:
        self._logger = logger
        self._message = message
        self._attributes = attributes
        self._subtest = subtest
        self._flush = flush
        self._number = 0

    def __enter__(self) -> None:
        params = _line(self._message, self._attributes)
        self._number = params["id"] = self._logger._next()
        if self._subtest:
            params["subtest"] = True
        self._logger._client.notify("log.begin", params, self._flush)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        params: dict[str, Any] = {"id": self._number}
        if error is not None:
            params["error"] = str(error)[:MAX_TEXT] or type(error).__name__
        client = self._logger._client
        if not client.closed:
            client.notify("log.end", params)

    def __call__(self, function: _F) -> _F:
        from functools import wraps

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            again = Nested(self._logger, self._message, self._attributes, self._subtest)
            with again:
                return function(*args, **kwargs)

        return inside  # type: ignore[return-value]


class Subtest(Nested):
    """A part of the log that is a test of its own in reports; its failure is said by name."""

    def __init__(self, logger: Logger, name: str, attributes: Mapping[str, str] = _NONE) -> None:
        super().__init__(logger, name, attributes, subtest=True)
        self._name = name

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not self._logger._client.closed:
            self._logger.log_test_error(f'Test "{self._name}" failed with error: "{error}"')
        super().__exit__(kind, error, traceback)


class Logger:
    """What scripts know as ``log``.

    ``error`` ends the script with exit code 1, unless it is interactive: so it always was with
    NixOS's driver.
    """

    def __init__(self, client: Client, exit_on_error: bool = True) -> None:
        self._client = client
        self._exit_on_error = exit_on_error
        self._count = 0

    def _next(self) -> int:
        # Two threads must not get the same number: one addition to a list's length is atomic,
        # an addition to an attribute is not.
        with self._client._state:
            self._count += 1
            return self._count

    def _write(self, level: str, message: object, attributes: Mapping[str, object]) -> None:
        params = _line("", attributes)
        params["level"] = level
        for part in _parts(str(message)):
            params["message"] = part
            self._client.notify("log.line", params)

    def log(self, message: str, attributes: Mapping[str, str] = _NONE) -> None:
        """Writes a line, whatever the level of the log is."""
        self._write("info", message, attributes)

    def debug(self, message: str, attributes: Mapping[str, str] = _NONE, **more: str) -> None:
        """Writes a line that is shown at the level ``debug`` only."""
        self._write("debug", message, {**attributes, **more})

    def info(self, message: str, attributes: Mapping[str, str] = _NONE, **more: str) -> None:
        """Writes a line."""
        self._write("info", message, {**attributes, **more})

    def warning(self, message: str, attributes: Mapping[str, str] = _NONE, **more: str) -> None:
        """Writes a warning."""
        self._write("warning", message, {**attributes, **more})

    def error(self, message: str, attributes: Mapping[str, str] = _NONE, **more: str) -> None:
        """Writes an error and ends the script with exit code 1, unless it is interactive."""
        self._write("error", message, {**attributes, **more})
        if self._exit_on_error:
            sys.exit(1)

    def log_test_error(
        self, message: str, attributes: Mapping[str, str] = _NONE, **more: str
    ) -> None:
        """Writes a line about a failed test, marked so that it stands out."""
        self._write("test-error", message, {**attributes, **more})

    def log_serial(self, message: str, machine: str) -> None:
        """Writes a line as if the machine's serial console had said it."""
        self._write("info", f"{machine} # {message}", {"type": "serial"})

    def nested(self, message: str, attributes: Mapping[str, str] = _NONE) -> Nested:
        """A part of the log with a heading, and with the time that it took."""
        return Nested(self, message, attributes)

    def subtest(self, name: str, attributes: Mapping[str, str] = _NONE) -> Nested:
        """A part of the log that is a test of its own in reports."""
        return Subtest(self, name, attributes)

    def print_serial_logs(self, enable: bool) -> None:
        """Whether lines of serial consoles are shown; they are in the beginning."""
        self._client.notify("log.serial", {"on": bool(enable)})

    def set_log_level(self, level: LogLevel | str) -> None:
        """Shows lines from this level on."""
        name = level if isinstance(level, str) else LogLevel(level).name
        self._client.notify("log.level", {"level": name.lower()})


def _parts(message: str) -> list[str]:
    """What a message takes on the wire: more than one line if it is huge, as outputs can be."""
    parts = []
    while len(message) > MAX_TEXT:
        end = message.rfind("\n", 0, MAX_TEXT)
        parts.append(message[: end if end > 0 else MAX_TEXT])
        message = message[end + 1 if end > 0 else MAX_TEXT :]
    return [*parts, message]


def _line(message: object, attributes: Mapping[str, object]) -> dict[str, Any]:
    params: dict[str, Any] = {"message": str(message)[:MAX_TEXT]}
    if attributes:
        rest = {str(name): str(value) for name, value in attributes.items()}
        machine = rest.pop("machine", None)
        if machine is not None:
            params["machine"] = machine
        if rest:
            params["attributes"] = rest
    return params
