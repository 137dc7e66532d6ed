"""The X server and its windows."""
# needs: x11

machine.wait_for_x()
machine.wait_for_x(timeout=60)
machine.wait_for_window("Term.*root")
machine.wait_for_window(regexp="Terminal", timeout=60)
t.assertIn("Terminal - root", machine.get_window_names())
with t.assertRaisesRegex(Exception, "timed out"):
    machine.wait_for_window("no such window", 1)
