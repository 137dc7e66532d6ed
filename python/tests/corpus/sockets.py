"""Waits for sockets."""
# needs: netcat-openbsd

machine.succeed("rm -f /tmp/corpus-*")
machine.execute("nc -lU /tmp/corpus-stream </dev/null >/dev/null 2>&1 & echo $! > /tmp/corpus-1")
machine.wait_for_open_unix_socket("/tmp/corpus-stream")
machine.execute(
    "nc -luU /tmp/corpus-datagram </dev/null >/dev/null 2>&1 & echo $! > /tmp/corpus-2"
)
machine.wait_for_open_unix_socket(addr="/tmp/corpus-datagram", is_datagram=True, timeout=60)
machine.execute("kill $(cat /tmp/corpus-1 /tmp/corpus-2)")
