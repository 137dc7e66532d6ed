"""Text terminals."""
# needs: tty

machine.connect()
machine.send_chars("corpus text\n")
machine.wait_until_tty_matches("1", "corpus text")
machine.wait_until_tty_matches(tty="1", regexp="corpus +text", timeout=60)
t.assertIn("corpus text", machine.get_tty_text("1"))
t.assertIn("corpus text", machine.get_tty_text(tty="1"))
machine.dump_tty_contents("1")
machine.dump_tty_contents(tty="1")
with t.assertRaisesRegex(Exception, "timed out"):
    machine.wait_until_tty_matches("1", "no such text", 1)
