"""Users, their sessions at a text terminal, and their own services."""
# needs: nixos
import shlex
from typing import Optional

users = {"alice": 1000, "bob": 1001}


def as_user(user: str, command: str, timeout: Optional[int] = None) -> str:
    return machine.succeed(f"su -l {user} -c {shlex.quote(command)}", timeout=timeout)


machine.wait_for_unit("multi-user.target")
machine.wait_until_succeeds("pgrep -f 'agetty.*tty1'")
machine.screenshot("postboot")

for user, uid in users.items():
    with subtest(f"log in as {user}"):
        machine.wait_until_tty_matches("1", "login: ")
        machine.send_chars(f"{user}\n")
        machine.wait_until_tty_matches("1", f"login: {user}")
        machine.wait_until_succeeds("pgrep login")
        machine.wait_until_tty_matches("1", "Password: ")
        machine.send_chars("foobar\n")
        machine.wait_until_succeeds(f"pgrep -u {user} bash")
        machine.send_chars("touch done\n")
        machine.wait_for_file(f"/home/{user}/done")
        machine.dump_tty_contents("1")
        assert int(as_user(user, "id -u", timeout=30)) == uid
        machine.send_chars("exit\n")

    with subtest(f"services of {user}"):
        machine.succeed(f"loginctl enable-linger {user}")
        machine.wait_for_unit("default.target", user)
        machine.systemctl("start notes.service", user=user)
        machine.wait_for_unit("notes.service", user=user, timeout=60)
        info = machine.get_unit_info("notes.service", user)
        assert info["ActiveState"] == "active", info
        machine.stop_job("notes.service", user)

tty = machine.get_tty_text("1")
t.assertRegex(tty, "login:")
