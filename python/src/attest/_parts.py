"""Runs one function of a script: a set-up or a test."""

from __future__ import annotations

import linecache

from ._rpc import _encode
from ._values import kind
from .errors import ScriptError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from ._lab import Lab

#: Bounds of what a set-up returns: it goes through messages of attest, and is kept with the state.
MAX_VALUE = 1 << 20
MAX_DEPTH = 64
#: Whole numbers that every JSON reader takes as they are: those of 64 bits.
_INTEGERS = range(-(1 << 63), 1 << 64)

#: Of a code object: calling it runs nothing yet. (`inspect` takes long to load.)
_LAZY = 0x20 | 0x80 | 0x100 | 0x200


def call(part: dict[str, Any], symbols: dict[str, Any], lab: Lab) -> Any:
    """Calls the function of a part with what it asks for: what a set-up returns, None for a test.

    ``symbols`` are the globals of the script, which has run. Raises ScriptError when the function
    is none, or wants or returns what there is not.
    """
    name = str(part["function"])
    function = symbols.get(name)
    plain = _unwrapped(function)
    code: CodeType | None = getattr(plain, "__code__", None)
    if code is None or not callable(function):
        raise ScriptError(f"`{name}` is no function when the script has run, but {kind(function)}")
    if code.co_flags & _LAZY:
        raise _error(f"`{name}` has a `yield`, so that calling it does nothing", code)
    known = _known(part, symbols, lab)
    given = {}
    for parameter, is_needed in _parameters(plain, code):
        if parameter in known:
            given[parameter] = known[parameter]
        elif is_needed:
            names = ", ".join(f"`{one}`" for one in known)
            raise _error(f"`{name}` takes `{parameter}`, which is none of {names}", code)
    returned = function(**given)
    if part["kind"] != "setup":
        return None
    wrong = _no_json(returned, "", 0)
    if wrong is None and len(_encode(returned).encode()) > MAX_VALUE:
        wrong = f"it is longer than {MAX_VALUE} bytes; keep it in a file of a machine"
    if wrong is not None:
        raise _error(f"what the set-up `{name}` returned is no state: {wrong}", code)
    return returned


def _known(part: dict[str, Any], symbols: dict[str, Any], lab: Lab) -> dict[str, Any]:
    """What functions may take."""
    from .nixos.driver import pythonize_name

    machines = {pythonize_name(machine.name): machine for machine in lab}
    if len(machines) == 1:
        machines["machine"] = next(iter(lab))
    return {**machines, "lab": lab, "state": part.get("value")}


def _unwrapped(function: Any) -> Any:
    """A function below what decorators put around it."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def _parameters(function: Any, code: CodeType) -> list[tuple[str, bool]]:
    """The names of a function's parameters, and whether it cannot do without."""
    positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    has_default = {*positional[len(positional) - len(function.__defaults__ or ()) :]}
    has_default.update(function.__kwdefaults__ or ())
    return [(name, name not in has_default) for name in (*positional, *keywords)]


def _error(message: str, code: CodeType) -> ScriptError:
    line = code.co_firstlineno
    text = linecache.getline(code.co_filename, line)
    return ScriptError(message, (code.co_filename, line, None, text))


def _no_json(value: object, place: str, depth: int) -> str | None:
    """Why a value does not come out of JSON as it went in; None when it does."""
    where = f"`{place}` is " if place else "it is "
    if depth > MAX_DEPTH:
        return f"it is nested more than {MAX_DEPTH} deep"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if value in _INTEGERS else f"{where}a number of more than 64 bits"
    if isinstance(value, float):
        is_finite = value - value == 0
        return None if is_finite else f"{where}{value}, which JSON cannot say"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"{where}a string with half a character"
        return None
    pairs: Any
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return f"{where}a dictionary with the key {key!r}, which is no string"
        pairs = [(f"{place}[{key!r}]", inner) for key, inner in value.items()]
        pairs += [("", key) for key in value]
    elif isinstance(value, (list, tuple)):
        pairs = [(f"{place}[{index}]", inner) for index, inner in enumerate(value)]
    else:
        return f"{where}{kind(value)}, which JSON cannot say; keep it in a file of a machine"
    for inner_place, inner in pairs:
        wrong = _no_json(inner, inner_place, depth + 1)
        if wrong is not None:
            return wrong
    return None
