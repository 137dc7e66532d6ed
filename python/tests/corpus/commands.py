"""Commands, their status, and what they write."""

start_all()
machine.connect()

with subtest("succeed gives what all commands wrote"):
    t.assertEqual(machine.succeed("echo one", "echo two", timeout=60), "one\ntwo\n")
    t.assertEqual(machine.succeed("printf '%s' \"$(seq 3)\""), "1\n2\n3")
    t.assertEqual(machine.succeed(), "")

with subtest("fail gives what the command wrote"):
    t.assertEqual(machine.fail("echo no; false", timeout=60), "no\n")

with subtest("failures are errors with these words"):
    with t.assertRaisesRegex(Exception, r"command `exit 3` failed \(exit code 3\)"):
        machine.succeed("exit 3")
    with t.assertRaisesRegex(Exception, "command `true` unexpectedly succeeded"):
        machine.fail("true")

with subtest("execute gives a status and an output"):
    t.assertEqual(machine.execute("echo out; echo err >&2; exit 4"), (4, "out\n"))
    status, output = machine.execute(command="echo hi", check_return=True, timeout=None)
    t.assertEqual((status, output), (0, "hi\n"))
    # That of busybox's `timeout` is that of the signal.
    t.assertIn(machine.execute("sleep 30", timeout=1)[0], (124, 143))
    t.assertEqual(machine.execute("echo ignored; exit 1", check_return=False), (-1, "ignored\n"))
    t.assertEqual(machine.execute("sleep 1 >&2", check_output=False), (-2, ""))
    t.assertEqual(machine.execute("exit 5", True, True, 10), (5, ""))

with subtest("the shell is strict"):
    machine.fail("echo $nothing_of_this_name")
    machine.fail("false | true")
    machine.fail("false; true")
    machine.succeed("[[ abc == a* ]]")

with subtest("output that is no UTF-8 does not break anything"):
    t.assertEqual(machine.succeed(r"printf 'a\377b'"), "a\ufffdb")

with subtest("waits for commands"):
    machine.succeed("rm -f /tmp/corpus-now /tmp/corpus-gone; touch /tmp/corpus-gone")
    machine.execute("(sleep 1; echo 42 > /tmp/corpus-now; rm /tmp/corpus-gone) >&2 &")
    t.assertEqual(machine.wait_until_succeeds("cat /tmp/corpus-now", timeout=60), "42\n")
    machine.wait_until_fails("test -e /tmp/corpus-gone", timeout=60)
    with t.assertRaisesRegex(Exception, "action timed out after .* seconds"):
        machine.wait_until_succeeds("false", 1)
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_until_fails(command="sleep 0", timeout=1)

with subtest("what cannot be a command is refused"):
    with t.assertRaises(TypeError):
        machine.succeed(["ls", "/"])  # type: ignore
    with t.assertRaises(ValueError):
        machine.execute("echo a\0b")

with subtest("sleep sleeps in the machine"):
    machine.sleep(1)
    machine.sleep(secs=0)

with subtest("long commands and long outputs come through whole"):
    word = "x" * 200_000
    t.assertEqual(machine.succeed(f"echo {word}; cat"), word + "\n")
    machine.fail(f"true {word}; exit 3")
    t.assertEqual(machine.wait_until_succeeds(f"echo {word} | wc -c", timeout=60), "200001\n")
    t.assertEqual(machine.wait_until_fails(f": {word}; echo no; false", timeout=60), "no\n")
    t.assertEqual(machine.execute(f"echo {word} | wc -c; exit 3"), (3, "200001\n"))
    t.assertEqual(len(machine.succeed("head -c 3000000 /dev/zero | tr '\\0' a")), 3_000_000)

machine.log("done with commands")
machine.log(msg="for sure")
with machine.nested("a part of the log"):
    machine.succeed("true")
with machine.nested(msg="another one", attrs={"color": "green"}):
    machine.run_callbacks()
