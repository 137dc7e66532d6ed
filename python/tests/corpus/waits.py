"""Waits for files, ports and sockets."""
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
    machine.execute("nc -l -p 18734 -k </dev/null >/dev/null 2>&1 & echo $! > /tmp/corpus-pid")
    machine.wait_for_open_port(18734)
    machine.wait_for_open_port(port=18734, addr="127.0.0.1", timeout=60)
    machine.succeed("kill $(cat /tmp/corpus-pid)")
    machine.wait_for_closed_port(18734, "127.0.0.1", 60)
    machine.wait_for_closed_port(port=18734, addr="localhost", timeout=60)
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_for_open_port(18734, timeout=1)

with subtest("sockets"):
    machine.execute("nc -lU /tmp/corpus-stream </dev/null >/dev/null 2>&1 & echo $! > /tmp/corpus-1")
    machine.wait_for_open_unix_socket("/tmp/corpus-stream")
    machine.execute(
        "nc -luU /tmp/corpus-datagram </dev/null >/dev/null 2>&1 & echo $! > /tmp/corpus-2"
    )
    machine.wait_for_open_unix_socket(addr="/tmp/corpus-datagram", is_datagram=True, timeout=60)
    machine.execute("kill $(cat /tmp/corpus-1 /tmp/corpus-2)")
