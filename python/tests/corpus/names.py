"""The globals that are there, and what they are."""
import unittest

for name in (
    "start_all join_all machines machines_qemu machines_nspawn vlans driver log os create_machine "
    "subtest run_tests test_script retry serial_stdout_on serial_stdout_off polling_condition "
    "BaseMachine Machine QemuMachine NspawnMachine t debug dump_machine_ssh machine"
).split():
    assert name in globals(), name

t.assertEqual(os.path.join("a", "b"), "a/b")
t.assertIsInstance(machine, Machine)
t.assertTrue(callable(test_script))
t.assertTrue(callable(run_tests))
t.assertEqual(len(vlans), 1)
t.assertIs(vlan1, vlans[0])
t.assertEqual(vlan1.nr, 1)
t.assertTrue(str(vlan1.socket_dir).endswith("vde1.ctl"))
t.assertIsInstance(vlan1.pid, int)
t.assertEqual(driver.vlans, vlans)

serial_stdout_off()
serial_stdout_on()
driver.serial_stdout_off()
driver.serial_stdout_on()
dump_machine_ssh(2)
driver.dump_machine_ssh(offset=2)
debug.breakpoint()
debug.breakpoint(host="127.0.0.1", port=4444)
t.assertTrue(driver.out_dir.is_dir())
t.assertIn("The globals that are there", driver.tests)
t.assertGreater(driver.global_timeout, 0)
t.assertIs(driver.logger, log)
t.assertIs(driver.debug, debug)
t.assertEqual(driver.polling_conditions, [])
t.assertIn("machine", driver.test_symbols())
driver.check_polling_conditions()
t.assertTrue(callable(driver.terminate_test))
driver.start_all()
machine.execute("poweroff >&2", check_return=False)
driver.join_all()
