"""``t``: the assertions of unittest for scripts."""

from __future__ import annotations

from unittest.case import TestCase

from ..errors import RequestedAssertionFailed


class AssertionTester(TestCase):
    """A test case whose failed assertions are failures that the script asked for."""

    __test__ = False
    failureException = RequestedAssertionFailed
