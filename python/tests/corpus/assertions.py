"""`t` is a test case of unittest."""
import unittest

t.assertEqual(1, 1)
t.assertIn("a", ["a"])
with t.assertRaises(ZeroDivisionError):
    1 / 0
with t.subTest("x"):
    pass
try:
    t.assertEqual([1, 2], [1, 3], "not the same")
except Exception as error:
    assert type(error).__name__ == "RequestedAssertionFailed", error
    assert "not the same" in str(error)
else:
    raise RuntimeError("no failure")
t.assertTrue(isinstance(t, unittest.TestCase))
