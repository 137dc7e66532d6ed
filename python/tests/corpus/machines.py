"""Several machines."""
# machines: client-1 server 3rd
from collections.abc import Callable

t.assertEqual([one.name for one in machines], ["3rd", "client-1", "server"])
t.assertIs(client_1, machines[1])
t.assertIs(_rd, machines[0])
t.assertEqual(server.name, "server")
t.assertNotIn("machine", globals())
t.assertEqual(sorted(machines_qemu, key=lambda one: one.name), machines)
t.assertEqual(machines_nspawn, [])
t.assertEqual(driver.machines, machines)
t.assertEqual(driver.machines_qemu, machines_qemu)
t.assertEqual(driver.machines_nspawn, machines_nspawn)

start_all()
for one in machines:
    one.succeed("echo hello from $HOSTNAME")

# Bound methods are values.
for run in (client_1.succeed, server.succeed):
    run("true")
jobs: dict[str, Callable[..., object]] = {"fail": server.fail, "execute": server.execute}
jobs["fail"]("false")

for one in machines:
    one.execute("poweroff >&2", check_return=False)
join_all()
t.assertFalse(any(one.booted for one in machines))
