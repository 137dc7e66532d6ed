"""What people get to see of a script's failure: their own lines, and none of this package."""

from __future__ import annotations

import os
import traceback

from ._run import FAILED, INTERRUPTED, Outcome
from .errors import MachineError, PollingConditionError, RequestedAssertionFailed, TestScriptError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traceback import FrameSummary, TracebackException

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_INTERNAL = "<frozen "


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
    only_script = isinstance(error, (TestScriptError, PollingConditionError, KeyboardInterrupt))
    shown = traceback.TracebackException.from_exception(error)
    _clean(shown, name, only_script, set())
    text = "".join(shown.format())
    lines = text.rstrip("\n").split("\n")
    if isinstance(error, TestScriptError):
        lines = _short_name(lines, error)
    return lines


def _short_name(lines: list[str], error: TestScriptError) -> list[str]:
    """The error's name without this package's, with an empty line before it: as it always was."""
    long_name = f"{type(error).__module__}.{type(error).__qualname__}"
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].startswith(long_name):
            lines[at] = type(error).__name__ + lines[at][len(long_name) :]
            return [*lines[:at], "", *lines[at:]]
    return lines


def _clean(shown: TracebackException, name: str, only_script: bool, seen: set[int]) -> None:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if _wanted(frame, name, only_script)]
    )
    others = [shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or [])]
    for other in others:
        if other is not None:
            _clean(other, name, only_script, seen)


def _wanted(frame: FrameSummary, name: str, only_script: bool) -> bool:
    if frame.filename == name:
        return True
    if only_script or frame.filename.startswith(_INTERNAL):
        return False
    return not os.path.abspath(frame.filename).startswith(_HERE)
