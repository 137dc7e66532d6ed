"""A message broker and two clients of it, from its first user to files that are sent both ways."""

import os
import pathlib
import tempfile

LOG = "/var/log/mosquitto/mosquitto.log"


def read(machine, path):
    """A file of a machine, as it is copied to the results."""
    machine.copy_from_vm(path, machine.name)
    return (machine.out_dir / machine.name / os.path.basename(path)).read_bytes()


start_all()

server.wait_for_unit("mosquitto.service")
client1.wait_for_unit("multi-user.target")
client2.wait_for_unit("multi-user.target")

with subtest("create: a new broker is there for its own machine only"):
    server.wait_for_open_port(1883)
    server.succeed("mosquitto_pub -t create/local -m here")
    client1.fail("mosquitto_pub -h server -t create/remote -m here")

with subtest("create: users, and what they may do"):
    server.succeed(
        "mosquitto_passwd -c -b /etc/mosquitto/passwd admin root",
        "mosquitto_passwd -b /etc/mosquitto/passwd client1 one",
        "mosquitto_passwd -b /etc/mosquitto/passwd client2 two",
        "mosquitto_passwd -b /etc/mosquitto/passwd guest nobody",
        "chown mosquitto /etc/mosquitto/passwd",
    )
    assert server.succeed("grep -c : /etc/mosquitto/passwd") == "4\n"
    server.fail("grep -q ':one$' /etc/mosquitto/passwd")
    server.succeed(
        "install -o mosquitto -m 0600 /etc/broker/acl /etc/mosquitto/acl",
        "cp /etc/broker/broker.conf /etc/mosquitto/conf.d/broker.conf",
        "systemctl restart mosquitto",
    )
    server.wait_for_unit("mosquitto.service")
    server.wait_for_open_port(1883)
    client1.wait_for_open_port(1883, "server")

with subtest("create: whoever is known is let in, and nobody else"):
    client1.fail("mosquitto_pub -h server -t news/create -m anonymous")
    client1.fail("mosquitto_pub -L mqtt://client1:two@server/news/create -m mistaken")
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/news/create -m known")
    client2.succeed("mosquitto_pub -L mqtt://client2:two@server/news/create -m known")
    client2.succeed("mosquitto_pub -L mqtt://guest:nobody@server/news/create -m known")

with subtest("create: users go and come while the broker runs"):
    server.succeed(
        "mosquitto_passwd -D /etc/mosquitto/passwd guest",
        "systemctl reload mosquitto",
    )
    client2.wait_until_fails("mosquitto_pub -L mqtt://guest:nobody@server/news/create -m gone")
    client1.fail("mosquitto_pub -L mqtt://auditor:eyes@server/news/create -m early")
    server.succeed(
        "mosquitto_passwd -b /etc/mosquitto/passwd auditor eyes",
        "systemctl reload mosquitto",
    )
    client1.wait_until_succeeds("mosquitto_pub -L mqtt://auditor:eyes@server/news/create -m new")
    assert server.succeed(f"grep -c 'Reloading config' {LOG}") == "2\n"

# What a driver reads as the console is the serial port, where there is one.
with subtest("connect: both clients subscribe"):
    client1.succeed(
        "mosquitto_sub -L mqtt://client1:one@server/inbox/client1 -i client1-inbox -c -q 1 -v"
        " > /tmp/inbox 2> /tmp/inbox.err & echo $! > /tmp/inbox.pid",
        "mosquitto_sub -L mqtt://client1:one@server/news/# -i client1-news -v"
        " > /tmp/news 2> /tmp/news.err &",
    )
    client2.succeed(
        "mosquitto_sub -L mqtt://client2:two@server/inbox/client2 -i client2-inbox -c -q 1 -v"
        " > /tmp/inbox 2> /tmp/inbox.err & echo $! > /tmp/inbox.pid",
        "mosquitto_sub -L mqtt://client2:two@server/news/# -i client2-news -v"
        " > /tmp/news 2> /tmp/news.err &",
        "mosquitto_sub -L mqtt://client2:two@server/console/# -i client2-console -v"
        " > $(ls /dev/ttyS0 2> /dev/null || echo /dev/console) 2>&1 &",
    )
    client2.wait_for_file("/tmp/inbox")
    server.wait_until_succeeds(f"test $(grep -c 'Sending SUBACK to client[12]-' {LOG}) = 5")
    connections = "ss -Htn state established 'sport = :1883' | wc -l"
    assert server.succeed(connections) == "5\n"

with subtest("connect: the server reaches them"):
    server.succeed(
        "mosquitto_pub -L mqtt://admin:root@localhost/inbox/client1 -q 1 -m 'welcome, client1'",
        "mosquitto_pub -L mqtt://admin:root@localhost/inbox/client2 -q 1 -m 'welcome, client2'",
        "mosquitto_pub -L mqtt://admin:root@localhost/console/client2 -m 'all are connected'",
    )
    client1.wait_until_succeeds("grep -qx 'inbox/client1 welcome, client1' /tmp/inbox")
    client2.wait_until_succeeds("grep -qx 'inbox/client2 welcome, client2' /tmp/inbox")
    client2.wait_for_console_text("console/client2 all are connected")
    client1.succeed("kill -0 $(cat /tmp/inbox.pid)", "test ! -s /tmp/inbox.err")
    client2.succeed("kill -0 $(cat /tmp/inbox.pid)", "test ! -s /tmp/inbox.err")

with subtest("exchange: from one to the other"):
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/inbox/client2 -m 'hello from 1'")
    client2.wait_until_succeeds("grep -qx 'inbox/client2 hello from 1' /tmp/inbox")
    client2.succeed("mosquitto_pub -L mqtt://client2:two@server/inbox/client1 -m 'hello from 2'")
    client1.wait_until_succeeds("grep -qx 'inbox/client1 hello from 2' /tmp/inbox")
    client1.fail("grep -q 'hello from 1' /tmp/inbox")
    client2.fail("grep -q 'hello from 2' /tmp/inbox")

with subtest("exchange: at least once, and exactly once"):
    client1.succeed(
        "mosquitto_pub -L mqtt://client1:one@server/inbox/client2 -q 1 -m 'at least once'",
        "mosquitto_pub -L mqtt://client1:one@server/inbox/client2 -q 2 -m 'exactly once'",
    )
    client2.wait_until_succeeds("grep -qx 'inbox/client2 exactly once' /tmp/inbox")
    client2.succeed("grep -qx 'inbox/client2 at least once' /tmp/inbox")
    assert client2.succeed("grep -c 'exactly once' /tmp/inbox") == "1\n"

with subtest("exchange: topics with wildcards"):
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/news/sport/today -m '3 to 1'")
    client2.wait_until_succeeds("grep -qx 'news/sport/today 3 to 1' /tmp/news")
    client2.succeed("mosquitto_pub -L mqtt://client2:two@server/news/weather -m rain")
    client1.wait_until_succeeds("grep -qx 'news/weather rain' /tmp/news")
    client1.succeed("grep -qx 'news/sport/today 3 to 1' /tmp/news")
    client2.succeed(
        "mosquitto_sub -L mqtt://client2:two@server/alarm/+/heat -i client2-alarm -C 1"
        " > /tmp/alarm 2>&1 &"
    )
    server.wait_until_succeeds(f"grep -q 'Sending SUBACK to client2-alarm$' {LOG}")
    client1.succeed(
        "mosquitto_pub -L mqtt://client1:one@server/alarm/client1/smoke -m 90",
        "mosquitto_pub -L mqtt://client1:one@server/alarm/client1/heat -m 80",
    )
    client2.wait_until_succeeds("grep -qx 80 /tmp/alarm")
    client2.fail("grep -qx 90 /tmp/alarm")

with subtest("exchange: what is retained"):
    client1.succeed(
        "mosquitto_pub -L mqtt://client1:one@server/exchange/kept -q 1 -r -m first",
        "mosquitto_pub -L mqtt://client1:one@server/exchange/kept -q 1 -r -m second",
    )
    kept = client2.succeed(
        "mosquitto_sub -L mqtt://client2:two@server/exchange/kept -q 1 -C 1 -F '%t %q %r %p'"
    )
    assert kept == "exchange/kept 1 1 second\n"
    kept = server.succeed("mosquitto_sub -L mqtt://admin:root@localhost/exchange/kept -C 1")
    assert kept == "second\n"
    client1.succeed(
        "mosquitto_pub -L mqtt://client1:one@server/exchange/kept -q 1 -r -n",
        "mosquitto_pub -L mqtt://client1:one@server/exchange/other -q 1 -r -m other",
    )
    kept = client2.succeed("mosquitto_sub -L mqtt://client2:two@server/exchange/# -C 1 -v")
    assert kept == "exchange/other other\n"

with subtest("exchange: what is refused"):
    server.succeed("mosquitto_pub -L mqtt://admin:root@localhost/secret/plan -q 1 -r -m hidden")
    client1.succeed(
        "mosquitto_pub -V 5 -L mqtt://client1:one@server/secret/plan -q 1 -r -m changed 2>&1"
        " | grep 'Not authorized'"
    )
    client2.succeed(
        "mosquitto_pub -V 5 -L mqtt://client2:two@server/alarm/client1/heat -q 1 -m 99 2>&1"
        " | grep 'Not authorized'"
    )
    client2.succeed(
        "mosquitto_pub -V 5 -L mqtt://auditor:eyes@server/exchange/other -q 1 -m mine 2>&1"
        " | grep 'Not authorized'"
    )
    server.succeed(f"grep -q \"Denied PUBLISH.*'secret/plan'\" {LOG}")
    seen = client2.succeed("mosquitto_sub -L mqtt://auditor:eyes@server/secret/# -C 1")
    assert seen == "hidden\n"
    seen = client1.succeed(
        "mosquitto_sub -L mqtt://client1:one@server/secret/# -t exchange/other -C 1"
    )
    assert seen == "other\n"
    server.succeed("mosquitto_pub -L mqtt://admin:root@localhost/secret/plan -q 1 -r -n")

with subtest("exchange: many at once"):
    client1.succeed("seq 1 20 | mosquitto_pub -L mqtt://client1:one@server/news/batch -q 1 -l")
    client2.wait_until_succeeds("grep -qx 'news/batch 20' /tmp/news")
    assert client2.succeed("grep -c '^news/batch ' /tmp/news") == "20\n"
    server.succeed("mosquitto_pub -L mqtt://admin:root@localhost/console/client2 -m 'enough said'")
    client2.wait_for_console_text("console/client2 enough said")

with subtest("rate-limit: only so many new connections"):
    server.succeed("nft -c -f /etc/broker/limit.nft", "nft -f /etc/broker/limit.nft")
    client1.succeed(
        "mosquitto_pub -L mqtt://client1:one@server/news/limit -m 1",
        "mosquitto_pub -L mqtt://client1:one@server/news/limit -m 2",
        "mosquitto_pub -L mqtt://client1:one@server/news/limit -m 3",
    )
    client1.fail("mosquitto_pub -L mqtt://client1:one@server/news/limit -m 4")
    client2.fail("mosquitto_pub -L mqtt://client2:two@server/news/limit -m 5")
    server.succeed("nft list chain inet doors input | grep 'counter packets [1-9]'")
    client2.wait_for_closed_port(1883, "server")

with subtest("rate-limit: who is connected stays so"):
    server.succeed("mosquitto_pub -L mqtt://admin:root@localhost/news/limit -m 'still here'")
    client2.wait_until_succeeds("grep -qx 'news/limit still here' /tmp/news")
    assert client2.succeed("grep -c '^news/limit [1-5]$' /tmp/news") == "3\n"

with subtest("rate-limit: it is lifted"):
    server.succeed("nft delete table inet doors")
    server.fail("nft list table inet doors")
    client2.wait_for_open_port(1883, "server")
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/news/limit -m 6")
    client2.wait_until_succeeds("grep -qx 'news/limit 6' /tmp/news")

with subtest("rate-limit: only so much in one message"):
    client1.succeed(
        "seq 1 600 > /tmp/large",
        "mosquitto_pub -L mqtt://client1:one@server/news/large -q 1 -f /tmp/large",
    )
    client2.wait_until_succeeds("grep -qx 'news/large 1' /tmp/news")
    server.succeed(
        "cp /etc/broker/limits.conf /etc/mosquitto/conf.d/limits.conf",
        "systemctl reload mosquitto",
    )
    refused = (
        "mosquitto_pub -V 5 -L mqtt://client1:one@server/exchange/large -q 1 -f /tmp/large 2>&1"
        " | grep 'Packet too large'"
    )
    client1.wait_until_succeeds(refused)
    client1.succeed(
        "mosquitto_pub -L mqtt://client1:one@server/news/large -q 1 -f /tmp/large",
        "mosquitto_pub -L mqtt://client1:one@server/news/small -q 1 -m small",
    )
    client2.wait_until_succeeds("grep -qx 'news/small small' /tmp/news")
    assert client2.succeed("grep -c '^news/large ' /tmp/news") == "1\n"
    server.succeed(f"grep -q \"Dropped too large PUBLISH.*'news/large'\" {LOG}")
    server.succeed("rm /etc/mosquitto/conf.d/limits.conf", "systemctl reload mosquitto")
    client1.wait_until_fails(refused)
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/news/large -q 1 -f /tmp/large")
    client2.wait_until_succeeds("test $(grep -c '^news/large ' /tmp/news) = 2")

with subtest("restart: the broker goes"):
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/restart/one -q 1 -r -m 'kept 1'")
    client2.succeed("mosquitto_pub -L mqtt://client2:two@server/restart/two -q 1 -r -m 'kept 2'")
    server.succeed("systemctl stop mosquitto")
    server.wait_for_closed_port(1883)
    client1.wait_for_closed_port(1883, "server")
    server.fail("systemctl is-active --quiet mosquitto")
    server.wait_for_file("/var/lib/mosquitto/mosquitto.db")
    server.succeed("grep -q 'kept 1' /var/lib/mosquitto/mosquitto.db")
    client1.fail("mosquitto_pub -L mqtt://client1:one@server/restart/one -m lost")
    client1.succeed("kill -0 $(cat /tmp/inbox.pid)")
    client2.succeed("kill -0 $(cat /tmp/inbox.pid)")

with subtest("restart: it comes again, with what it had"):
    server.succeed("systemctl start mosquitto")
    server.wait_for_unit("mosquitto.service")
    server.wait_for_open_port(1883)
    kept = client2.succeed("mosquitto_sub -L mqtt://client2:two@server/restart/one -C 1")
    assert kept == "kept 1\n"
    kept = client1.succeed("mosquitto_sub -L mqtt://client1:one@server/restart/two -C 1")
    assert kept == "kept 2\n"

with subtest("reconnect: subscribers come back by themselves"):
    server.wait_until_succeeds(
        f"test $(grep -Ec 'Sending SUBACK to client[12]-(inbox|news)$' {LOG}) -ge 8"
    )
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/inbox/client2 -q 1 -m 'back, 2?'")
    client2.wait_until_succeeds("grep -qx 'inbox/client2 back, 2?' /tmp/inbox")
    client2.succeed("mosquitto_pub -L mqtt://client2:two@server/inbox/client1 -q 1 -m 'back, 1?'")
    client1.wait_until_succeeds("grep -qx 'inbox/client1 back, 1?' /tmp/inbox")

with subtest("reconnect: what was said meanwhile is not lost"):
    client2.succeed("kill -KILL $(cat /tmp/inbox.pid)")
    server.wait_until_succeeds(f"grep -Eq 'Client client2-inbox (closed|disconnected)' {LOG}")
    client1.succeed(
        "mosquitto_pub -L mqtt://client1:one@server/inbox/client2 -q 1 -m 'missed 1'",
        "mosquitto_pub -L mqtt://client1:one@server/inbox/client2 -q 1 -m 'missed 2'",
    )
    client2.fail("grep -q missed /tmp/inbox")
    client2.succeed(
        "mosquitto_sub -L mqtt://client2:two@server/inbox/client2 -i client2-inbox -c -q 1 -v"
        " > /tmp/again 2> /tmp/again.err & echo $! > /tmp/again.pid"
    )
    client2.wait_until_succeeds("grep -qx 'inbox/client2 missed 2' /tmp/again")
    assert client2.succeed("grep -c missed /tmp/again") == "2\n"

with subtest("reconnect: the broker crashes"):
    server.succeed("systemctl kill --signal KILL mosquitto")
    server.wait_until_succeeds("systemctl show -P NRestarts mosquitto | grep -x 1")
    server.wait_for_unit("mosquitto.service")
    server.wait_for_open_port(1883)
    server.wait_until_succeeds(f"test $(grep -c 'Sending SUBACK to client1-news$' {LOG}) -ge 3")
    client2.succeed("mosquitto_pub -L mqtt://client2:two@server/news/crash -m 'over it'")
    client1.wait_until_succeeds("grep -qx 'news/crash over it' /tmp/news")

host = pathlib.Path(tempfile.mkdtemp())
report = "".join(f"line {number} of the report\n" for number in range(1, 2001)).encode()
noise = bytes(number * number % 251 for number in range(32768))

with subtest("files: from the host to a client, and on to the others"):
    (host / "report").write_bytes(report)
    client1.copy_from_host(str(host / "report"), "/tmp/report")
    client2.succeed(
        "(mosquitto_sub -L mqtt://client2:two@server/files/report -i client2-report -C 1 -N"
        " > /tmp/report.part && mv /tmp/report.part /tmp/report) > /dev/null 2>&1 &"
    )
    server.succeed(
        "(mosquitto_sub -L mqtt://admin:root@localhost/files/report -i server-report -C 1 -N"
        " > /tmp/report.part && mv /tmp/report.part /tmp/report) > /dev/null 2>&1 &"
    )
    server.wait_until_succeeds(f"test $(grep -c 'Sending SUBACK to .*-report$' {LOG}) = 2")
    client1.succeed("mosquitto_pub -L mqtt://client1:one@server/files/report -q 1 -f /tmp/report")
    client2.wait_for_file("/tmp/report")
    server.wait_for_file("/tmp/report")
    digests = {m.succeed("sha256sum /tmp/report") for m in [client1, client2, server]}
    assert len(digests) == 1, digests
    assert read(client2, "/tmp/report") == report
    assert read(server, "/tmp/report") == report

with subtest("files: from the host to the server, and on to the clients"):
    (host / "noise").write_bytes(noise)
    server.copy_from_host(str(host / "noise"), "/tmp/noise")
    server.succeed("mosquitto_pub -L mqtt://admin:root@localhost/files/noise -q 1 -r -f /tmp/noise")
    client1.succeed("mosquitto_sub -L mqtt://client1:one@server/files/noise -C 1 -N > /tmp/noise")
    client2.succeed("mosquitto_sub -L mqtt://client2:two@server/files/noise -C 1 -N > /tmp/noise")
    digests = {m.succeed("sha256sum /tmp/noise") for m in [server, client1, client2]}
    assert len(digests) == 1, digests
    assert read(client1, "/tmp/noise") == noise
    server.succeed("mosquitto_pub -L mqtt://admin:root@localhost/files/noise -q 1 -r -n")

with subtest("files: from a client to the other, and on to the host"):
    client2.succeed("seq 1 5000 > /tmp/numbers")
    client1.succeed(
        "(mosquitto_sub -L mqtt://client1:one@server/files/numbers -i client1-numbers -C 1 -N"
        " > /tmp/numbers.part && mv /tmp/numbers.part /tmp/numbers) > /dev/null 2>&1 &"
    )
    server.wait_until_succeeds(f"grep -q 'Sending SUBACK to client1-numbers$' {LOG}")
    client2.succeed("mosquitto_pub -L mqtt://client2:two@server/files/numbers -q 1 -f /tmp/numbers")
    client1.wait_for_file("/tmp/numbers")
    numbers = "".join(f"{number}\n" for number in range(1, 5001)).encode()
    assert read(client1, "/tmp/numbers") == numbers
