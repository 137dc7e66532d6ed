"""Checks and conversions of what scripts hand in."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any, Optional, Union

    #: A time: seconds, a timedelta, or None for none.
    Timeout = Optional[Union[int, float, timedelta]]


def seconds(value: Timeout, what: str = "timeout") -> float | None:
    """A time in seconds; None stays None, and what is negative is 0.

    Raises TypeError for what is no time, ValueError for what is not finite.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)):
        number = float(value)
    else:
        total: Any = getattr(value, "total_seconds", None)
        if total is None:
            raise TypeError(f"{what} must be seconds or a timedelta, not {kind(value)}")
        number = float(total())
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{what} must be a finite number of seconds; None means no limit")
    return max(0.0, number)


#: As in manifests: binary units.
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size_in_bytes(value: int | str, what: str) -> int:
    """A number of bytes, or a text such as "64M", in bytes.

    Raises TypeError for what is neither, ValueError for what is no size.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f'{what} must be bytes or a size such as "64M", not {kind(value)}')
    if isinstance(value, str):
        number, unit = value[:-1].rstrip(" "), value[-1:]
        if value.endswith("iB"):
            number, unit = value[:-3].rstrip(" "), value[-3:-2]
        if unit not in _UNITS or not (number.isascii() and number.isdigit()):
            raise ValueError(f'{what} must be a size with its unit, as "64M" or "1G": {value!r}')
        return int(number) * _UNITS[unit]
    if value < 0:
        raise ValueError(f"{what} must not be negative: {value}")
    return value


def text(value: object, what: str) -> str:
    """A string that a guest's system calls can take.

    Raises TypeError for what is no string, ValueError for a string with a NUL in it.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a string, not {kind(value)}: {value!r}")
    nul = value.find("\0")
    if nul >= 0:
        raise ValueError(f"{what} has a NUL character at position {nul}: {value[:80]!r}")
    return value


def kind(value: object) -> str:
    """The name of a value's type, for people."""
    return type(value).__name__


def quote(value: object) -> str:
    """One word of a shell."""
    return "'" + str(value).replace("'", "'\\''") + "'"


def read_text(data: bytes) -> str:
    """What a guest wrote, as text; what is not UTF-8 is shown as U+FFFD."""
    return data.decode("utf-8", "replace")
