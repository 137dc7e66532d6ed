"""What people get to see of a script's failure: their own lines, and none of this package."""

from __future__ import annotations

import os
import traceback

from ._run import FAILED, INTERRUPTED, Outcome
from .errors import (
    InterruptedBySnapshot,
    MachineError,
    PollingConditionError,
    RequestedAssertionFailed,
    ScriptError,
    SnapshotsUnsupported,
    TestScriptError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traceback import FrameSummary, TracebackException

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_INTERNAL = "<frozen "
#: Errors that are shown by their own names alone.
_SHORT: tuple[type[BaseException], ...] = (
    RequestedAssertionFailed,
    MachineError,
    InterruptedBySnapshot,
    SnapshotsUnsupported,
    ScriptError,
)


def describe(error: BaseException, name: str) -> Outcome:
    """How a script ended that raised this error; ``name`` is its file name in tracebacks."""
    if isinstance(error, SystemExit):
        return _exit(error)
    lines = render(error, name)
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return Outcome("interrupted", INTERRUPTED, message, lines)
    if isinstance(error, MachineError):
        return Outcome("machine-error", FAILED, message, lines)
    if isinstance(error, (RequestedAssertionFailed, PollingConditionError)):
        return Outcome("assertion", FAILED, message, lines)
    return Outcome("error", FAILED, message, lines)


def _exit(error: SystemExit) -> Outcome:
    if error.code is None:
        return Outcome("exit", 0)
    if isinstance(error.code, int):
        return Outcome("exit", error.code & 0xFF)
    return Outcome("exit", FAILED, str(error.code), [str(error.code)])


def render(error: BaseException, name: str) -> list[str]:
    """The traceback in lines, without frames of this package.

    Of failures that the script asked for, only the frames of the script are of interest.
    """
    shown = traceback.TracebackException.from_exception(error)
    _clean(shown, error, name, set())
    lines = "".join(shown.format()).rstrip("\n").split("\n")
    return [shorter for line in lines for shorter in _short_name(line)]


def _short_name(line: str) -> list[str]:
    """An error's name without this package's, with an empty line before it: as it always was."""
    for kind in _SHORT:
        long_name = f"{kind.__module__}.{kind.__qualname__}"
        if line.startswith(long_name):
            short = kind.__name__ + line[len(long_name) :]
            return [short] if kind is ScriptError else ["", short]
    return [line]


def _clean(shown: TracebackException, error: BaseException, name: str, seen: set[int]) -> None:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    only_script = isinstance(error, (TestScriptError, PollingConditionError, KeyboardInterrupt))
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if _wanted(frame, name, only_script)]
    )
    pairs = [(shown.__cause__, error.__cause__), (shown.__context__, error.__context__)]
    parts = getattr(shown, "exceptions", None) or []
    pairs += zip(parts, getattr(error, "exceptions", None) or [])
    for inner, inner_error in pairs:
        if inner is not None and inner_error is not None:
            _clean(inner, inner_error, name, seen)


def _wanted(frame: FrameSummary, name: str, only_script: bool) -> bool:
    if frame.filename == name:
        return True
    if only_script or frame.filename.startswith(_INTERNAL):
        return False
    return not os.path.abspath(frame.filename).startswith(_HERE)
