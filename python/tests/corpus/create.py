"""Machines that a script makes."""
# needs: create

command = str(machine.start_command).replace("run-machine-vm", "run-made-vm")
made = create_machine(command)
t.assertEqual(made.name, "made")
t.assertIsInstance(made, QemuMachine)
made.start()
made.succeed("true")
made.shutdown()
named = create_machine(start_command=command, name="named", keep_machine_state=True)
t.assertEqual(named.name, "named")
kept = driver.create_machine(command, name="kept")
t.assertEqual(kept.name, "kept")
old = create_machine({"name": "old", "qemuFlags": "-smp 2", "hda": "/tmp/x.qcow2"})
t.assertEqual(old.name, "old")
t.assertIn("-smp 2", str(old.start_command))
again = create_machine(command, name="named", keep_vm_state=True)
t.assertEqual(again.name, "named")
