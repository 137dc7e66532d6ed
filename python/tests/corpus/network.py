"""The cable, and ports of the host."""
# needs: qemu

machine.start()
machine.block()
machine.unblock()
machine.forward_port()
machine.forward_port(host_port=18080, guest_port=80)
machine.forward_port(18081, 81)
