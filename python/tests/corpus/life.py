"""How machines start and end."""
# needs: reboot

with subtest("before the start"):
    t.assertFalse(machine.is_up())
    t.assertFalse(machine.booted)
    t.assertFalse(machine.connected)
    t.assertIsNone(machine.pid)
    t.assertIsNone(machine.process)
    t.assertIsNone(machine.qmp_client)
    machine.shutdown()
    machine.crash()
    machine.wait_for_shutdown()
    machine.release()

with subtest("start"):
    machine.start()
    machine.start(allow_reboot=False)
    t.assertTrue(machine.booted)
    t.assertFalse(machine.is_up())
    machine.connect()
    t.assertTrue(machine.is_up())
    t.assertTrue(machine.connected)
    t.assertIsInstance(machine.pid, int)
    assert machine.process is not None
    t.assertIsNone(machine.process.poll())
    t.assertEqual(machine.process.pid, machine.pid)

with subtest("shutdown"):
    machine.shutdown()
    t.assertFalse(machine.is_up())
    t.assertFalse(machine.booted)

with subtest("shutdown from inside"):
    machine.succeed("true")
    machine.execute("poweroff >&2", check_return=False)
    machine.wait_for_shutdown()
    t.assertFalse(machine.booted)

with subtest("crash"):
    machine.start()
    machine.crash()
    t.assertFalse(machine.booted)
    assert machine.process is not None
    t.assertEqual(machine.process.wait(timeout=60), 0)

with subtest("reboot"):
    machine.start(allow_reboot=True)
    machine.succeed("touch /run/corpus-this-boot")
    machine.reboot()
    t.assertFalse(machine.connected)
    machine.connect()
    machine.succeed("true")

with subtest("a reboot that the script knows of"):
    machine.execute("(systemctl reboot || reboot -f) >&2", check_return=False)
    machine.connected = False
    machine.connect()

with subtest("places"):
    t.assertTrue(machine.state_dir.is_dir())
    t.assertTrue(machine.shared_dir.is_dir())
    t.assertTrue(machine.out_dir.is_dir())
    t.assertTrue(machine.tmp_dir.is_dir())
    t.assertEqual(machine.state_dir.name, f"vm-state-{machine.name}")
    t.assertIn(machine.name, repr(machine))
    t.assertIsNotNone(machine.start_command)
    t.assertIn("vsock/3", machine.ssh_backdoor_command(3))
    t.assertIn("vsock/4", machine.ssh_backdoor_command(index=4))

with subtest("callbacks"):
    called: list[int] = []
    machine.callbacks.append(lambda: called.append(1))
    machine.succeed("true")
    t.assertTrue(called)
    machine.callbacks.pop()

machine.log_serial("as if the console had said it")
machine.release()
t.assertFalse(machine.booted)
machine.cleanup_statedir()
t.assertFalse(machine.state_dir.exists())
