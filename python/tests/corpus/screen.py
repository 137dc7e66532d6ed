"""Keys, pictures, and reading them."""
# needs: screen

# What the screen shows when the machine has booted.
words = os.environ.get("CORPUS_SCREEN", "login")

machine.start()
machine.wait_for_text(words)
machine.wait_for_text(regex=f"(?i){words.upper()}", timeout=60)

with subtest("keys"):
    machine.send_key("a")
    machine.send_key("ret", 0.05)
    machine.send_key(key="shift-b", delay=None, log=False)
    machine.send_key("\n", delay=0)
    machine.send_chars("Hello, World!\n")
    machine.send_chars(chars="x", delay=0.02)
    machine.send_chars("fast", None)

with subtest("pictures"):
    machine.screenshot("first")
    machine.screenshot("second.png")
    machine.screenshot(filename=str(machine.out_dir / "third.png"))
    for name in ("first.png", "second.png", "third.png"):
        t.assertTrue((machine.out_dir / name).read_bytes().startswith(b"\x89PNG"), name)

with subtest("text"):
    t.assertRegex(machine.get_screen_text(), words)
    t.assertTrue(any(words in text for text in machine.get_screen_text_variants()))
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_for_text("no such words", timeout=1)
