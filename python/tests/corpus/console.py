"""The serial console."""

machine.start()
machine.wait_for_console_text("(?i)linux|boot")
machine.connect()

with subtest("waits go on where the last one ended"):
    machine.execute("echo corpus-one >&2; echo corpus-two >&2; echo corpus-three >&2")
    machine.wait_for_console_text("corpus-one", timeout=60)
    machine.wait_for_console_text(r"corpus-t.o$")
    machine.wait_for_console_text(regex="corpus-three", timeout=60)
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_for_console_text("corpus-one", 1)

with subtest("matches span lines"):
    machine.execute("echo corpus-begin >&2; echo corpus-end >&2; echo corpus-after >&2")
    machine.wait_for_console_text(r"corpus-begin\r?\ncorpus-end", timeout=60)
    machine.wait_for_console_text("corpus-after", timeout=60)

with subtest("the log has all of it"):
    log_text = machine.get_console_log()
    t.assertIn("corpus-three\n", log_text)
    t.assertRegex(log_text, "(?i)linux|boot")
    t.assertFalse(log_text.endswith("\n"))

with subtest("typing"):
    machine.send_console("corpus-typed\n")
    machine.wait_for_console_text("corpus-typed", timeout=60)
    machine.send_console(chars="\n")
