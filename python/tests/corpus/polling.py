"""Conditions that hold while something else happens."""
import time

asked: list[str] = []


@polling_condition
def always():
    asked.append("always")


@polling_condition(seconds_interval=0.2, description="the file is there")
def file_is_there():
    asked.append("file")
    return machine.execute("test -e /tmp/corpus-condition")[0] == 0


machine.succeed("rm -f /tmp/corpus-condition")

with subtest("wait"):
    machine.execute("(sleep 1; touch /tmp/corpus-condition) >&2 &")
    file_is_there.wait(timeout=60)
    file_is_there.wait()
    machine.succeed("rm /tmp/corpus-condition")
    with t.assertRaisesRegex(Exception, "timed out"):
        file_is_there.wait(1)
    machine.succeed("touch /tmp/corpus-condition")

with subtest("a condition that holds"):
    asked.clear()
    # It was asked a moment ago.
    time.sleep(0.3)
    with always, file_is_there:
        machine.succeed("true")
    t.assertEqual(sorted(asked), ["always", "file"])

with subtest("it is asked while a command runs, at its own interval"):
    asked.clear()
    with file_is_there:
        machine.succeed("sleep 1")
    # A plain root shell runs one command at a time: there it has to wait.
    t.assertGreater(len(asked), 2 if os.environ.get("CORPUS_AGENT", "1") == "1" else 0)

with subtest("a condition that breaks ends a wait"):
    machine.execute("(sleep 1; rm /tmp/corpus-condition) >&2 &")
    begin = time.monotonic()
    with t.assertRaisesRegex(Exception, "Polling condition failed: the file is there"):
        with file_is_there:
            machine.wait_until_succeeds("false", timeout=300)
    t.assertLess(time.monotonic() - begin, 200)

with subtest("conditions made without a decorator"):
    machine.succeed("touch /tmp/corpus-condition")
    with polling_condition(lambda: True), driver.polling_condition(lambda: True):
        machine.succeed("true")
    made = driver.polling_condition(fun_=None, seconds_interval=0.1, description=None)
    with made(lambda: None):
        machine.succeed("true")
