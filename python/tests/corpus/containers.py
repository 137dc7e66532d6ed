"""Containers beside virtual machines."""
# needs: nspawn
# machines: host
# containers: box

t.assertIsInstance(box, NspawnMachine)
t.assertIsInstance(host, QemuMachine)
t.assertIsInstance(box, BaseMachine)
t.assertEqual(machines_nspawn, [box])
t.assertEqual(machines_qemu, [host])
box.start()
t.assertTrue(box.booted)
t.assertEqual(box.succeed("echo inside"), "inside\n")
t.assertTrue(box.is_up())
box.wait_until_succeeds("true", timeout=60)
box.wait_for_file("/etc")
t.assertIn("ssh -o User=root", box.ssh_backdoor_command(1))
box.execute("poweroff >&2", check_return=False)
box.wait_for_shutdown()
t.assertFalse(box.booted)
