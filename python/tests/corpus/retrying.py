"""retry in all its signatures."""
from datetime import timedelta

tries: list[bool] = []


def third(last: bool) -> bool:
    tries.append(last)
    return len(tries) >= 3


for call in (
    lambda: retry(third),
    lambda: retry(third, 60),
    lambda: retry(third, timeout=60),
    lambda: retry(third, timeout_seconds=60),
    lambda: retry(fn=third, timeout=timedelta(minutes=1)),
    lambda: retry(third, timeout_seconds=timedelta(seconds=60)),
    lambda: retry(third, 60.5),
):
    tries.clear()
    call()
    t.assertEqual(tries, [False, False, False])

tries.clear()
with t.assertRaisesRegex(Exception, r"action timed out after .* seconds \(timeout=0\)"):
    retry(lambda last: tries.append(last), timeout=0)
t.assertEqual(tries, [True])

tries.clear()
with t.assertRaisesRegex(Exception, "action timed out after"):
    retry(lambda last: tries.append(last), 0.1)
t.assertEqual(tries[-1], True)
t.assertNotIn(True, tries[:-1])
