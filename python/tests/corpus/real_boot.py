"""The stages of the boot, the emergency shell, and what the console shows."""
# needs: nixos
import re

machine.start(allow_reboot=True)
serial_stdout_on()

with subtest("stage 1"):
    machine.wait_for_unit("initrd.target")
    machine.succeed("test -e /etc/initrd-release")
    machine.switch_root()

with subtest("stage 2"):
    machine.wait_for_unit("default.target")
    machine.fail("test -e /etc/initrd-release")
    system = machine.succeed("readlink -f /run/current-system").strip()
    assert re.match(r"/nix/store/\w{32}-nixos-system-", system), system

with subtest("emergency mode"):
    machine.execute("systemctl emergency --no-block >&2", check_output=False, check_return=False)
    machine.wait_for_console_text("You are in emergency mode")
    machine.send_console("\n\nsystemctl default\n")
    machine.wait_for_console_text("Reached target .*Multi-User")

with subtest("crash dumps"):
    machine.execute("echo c > /proc/sysrq-trigger", check_return=False, check_output=False)
    machine.connected = False
    machine.wait_for_console_text("Kernel panic - not syncing", timeout=60)
    machine.wait_for_qmp_event(lambda event: event["event"] == "RESET", timeout=120)
    machine.wait_for_unit("multi-user.target")

assert machine.booted
assert machine.process is not None and machine.process.poll() is None
console = machine.get_console_log()
print(console.count("\n"), "lines of console")
machine.shutdown()
