"""``t`` before it is used: unittest takes longer to load than all the rest."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LazyTester:
    """Becomes a test case of unittest at its first use."""

    __test__ = False

    def __getattr__(self, name: str) -> Any:
        from .testcase import AssertionTester

        return getattr(AssertionTester(), name)
