"""Waits for files and ports."""
# needs: nc

if os.environ.get("CORPUS_SYSTEMD"):
    machine.wait_for_unit("multi-user.target")

with subtest("files"):
    machine.succeed("rm -rf /tmp/corpus-*; echo 1 > /tmp/corpus-file")
    machine.wait_for_file("/tmp/corpus-file")
    machine.wait_for_file(filename="/tmp/corpus-f*", timeout=60)
    machine.execute("(sleep 1; touch /tmp/corpus-later) >&2 &")
    machine.wait_for_file("/tmp/corpus-$(echo later)", 60)
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_for_file("/tmp/corpus-never", timeout=1)

with subtest("ports"):
    machine.wait_for_closed_port(18734)
    # Not all of them can stay when a connection has ended, and they do not agree how.
    listen = "if [[ $(nc -h 2>&1) == *-k* ]]; then exec nc -lk 18734; fi; exec nc -ll -p 18734 -e true"
    machine.execute(f"({listen}) </dev/null >/dev/null 2>&1 & echo $! > /tmp/corpus-pid")
    machine.wait_for_open_port(18734)
    machine.wait_for_open_port(port=18734, addr="127.0.0.1", timeout=60)
    machine.succeed("kill $(cat /tmp/corpus-pid)")
    machine.wait_for_closed_port(18734, "127.0.0.1", 60)
    machine.wait_for_closed_port(port=18734, addr="localhost", timeout=60)
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_for_open_port(18734, timeout=1)
