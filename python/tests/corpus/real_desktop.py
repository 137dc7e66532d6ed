"""A desktop: log in, open a terminal, look at it."""
# needs: nixos
user = "alice"
password = "foobar"


def login_as_alice() -> None:
    machine.wait_for_text("(Password|Passwort)")
    machine.send_chars(password + "\n", delay=0.2)


with subtest("the display manager is there"):
    machine.wait_for_x()
    machine.screenshot("greeter")
    login_as_alice()

with subtest("the session is there"):
    machine.wait_for_file(f"/home/{user}/.Xauthority")
    machine.succeed(f"xauth merge ~{user}/.Xauthority")
    machine.wait_for_unit("graphical-session.target", user)
    machine.wait_until_succeeds("pgrep xfce4-panel", timeout=120)

with subtest("a terminal opens"):
    machine.succeed(f"su - {user} -c 'DISPLAY=:0 xfce4-terminal >&2 &'")
    machine.wait_for_window("Terminal")
    machine.send_chars("echo $((21 * 2)) > /tmp/answer\n")
    machine.wait_for_file("/tmp/answer")
    machine.send_key("alt-f4")
    machine.send_key("ctrl-alt-delete", delay=None)

names = machine.get_window_names()
assert not any("Terminal" in name for name in names), names
texts = machine.get_screen_text_variants()
log.info(f"the screen shows: {texts[0]!r}, {machine.get_screen_text()!r}")
machine.screenshot("end")
