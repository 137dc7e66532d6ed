"""Mail from one machine to another, read with a program that the test brings along."""
# needs: nixos
# machines: mail sender
import email
import email.policy
import tempfile
import textwrap
import time

READER = textwrap.dedent(
    """
    import imaplib, sys
    with imaplib.IMAP4("localhost") as box:
        box.login("bob", "secret")
        box.select()
        sys.stdout.buffer.write(box.fetch("1", "(RFC822)")[1][0][1])
    """
)

mail.wait_for_unit("postfix.service")
mail.wait_for_unit("dovecot.service")
mail.wait_for_open_port(25)
mail.wait_for_open_port(143)
mail.wait_for_closed_port(110)

with tempfile.NamedTemporaryFile("w") as script:
    script.write(READER)
    script.flush()
    mail.copy_from_host_via_shell(script.name, "/root/read.py")

subject = f"test at {time.time():.0f}"
sender.wait_for_unit("network-online.target")
sender.succeed(f"printf 'Subject: {subject}\\n\\nHello\\n' | sendmail bob@mail")
raw = mail.wait_until_succeeds("python3 /root/read.py", timeout=60)
message = email.message_from_string(raw, policy=email.policy.default)
t.assertEqual(message["Subject"], subject)
t.assertIn("Hello", message.get_content())
t.assertRegex(message["Received"], "from sender")

for name in ("postfix", "dovecot"):
    code, _ = mail.stop_job(f"{name}.service")
    assert code == 0
    mail.wait_until_fails(f"systemctl is-active {name}")
mail.copy_from_machine("/var/log/mail.log")
