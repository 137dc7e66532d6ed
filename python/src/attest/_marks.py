"""The decorators of scripts with set-ups and tests.

They mark a function and leave it as it is: attest reads them without running the script (see
`_outline`), and says when it runs it which function it wants.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar, overload

    #: A set-up or a test. It takes any of ``lab``, ``state``, and the names of machines.
    Function = Callable[..., object]
    Marked = TypeVar("Marked", bound=Function)

if TYPE_CHECKING:

    @overload
    def setup(function: Marked, /) -> Marked: ...
    @overload
    def setup(*, after: Function | None = None) -> Callable[[Marked], Marked]: ...


def setup(
    function: Marked | None = None, /, *, after: Function | None = None
) -> Marked | Callable[[Marked], Marked]:
    """Marks a function that brings the lab to a state that tests want.

    It runs once. What it returns is the ``state`` of the tests and set-ups that go on from there:
    something that JSON can say, None by default. ``after`` is the set-up that it goes on from
    itself; without it, it begins with machines that have just booted.
    """
    return _mark if function is None else function


if TYPE_CHECKING:

    @overload
    def test(function: Marked, /) -> Marked: ...
    @overload
    def test(*, setup: Function | None = None) -> Callable[[Marked], Marked]: ...


def test(
    function: Marked | None = None, /, *, setup: Function | None = None
) -> Marked | Callable[[Marked], Marked]:
    """Marks a function that is a test; one whose name begins with ``test_`` needs no mark.

    ``setup`` is the set-up whose state it wants. When it is left out, that is the set-up of the
    file that is called ``setup``, if there is one; ``setup=None`` wants machines that have just
    booted.
    """
    return _mark if function is None else function


# Whatever pytest thinks of its name.
_test: Any = test
_test.__test__ = False


def _mark(function: Marked) -> Marked:
    return function
