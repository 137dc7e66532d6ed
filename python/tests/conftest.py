"""What all tests begin with."""

from __future__ import annotations

import signal

# A shell that runs something in the background lets it ignore Ctrl-C, and so do all that come from
# it (POSIX.1-2017, XCU 2.11). Tests that press Ctrl-C on a program of their own begin with what a
# terminal gives it.
signal.signal(signal.SIGINT, signal.default_int_handler)
