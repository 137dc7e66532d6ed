"""QEMU's monitors."""
# needs: qemu

machine.start()

with subtest("human monitor"):
    t.assertIn("VM status: running", machine.send_monitor_command("info status"))
    t.assertTrue(machine.send_monitor_command(command="info status").endswith("(qemu) "))

with subtest("machine protocol"):
    assert machine.qmp_client is not None
    answer = machine.qmp_client.send("query-status")
    t.assertEqual(answer["return"]["status"], "running")
    machine.qmp_client.send("stop", {})
    machine.qmp_client.send("cont")
    event = machine.wait_for_qmp_event(lambda event: event["event"] == "STOP")
    t.assertEqual(event["event"], "STOP")
    event = machine.wait_for_qmp_event(
        event_filter=lambda event: event["event"] == "RESUME", timeout=60
    )
    t.assertEqual(event["event"], "RESUME")
    t.assertEqual([event["event"] for event in machine.qmp_client.events()], [])
    machine.qmp_client.send("stop")
    t.assertEqual(machine.qmp_client.wait_for_event()["event"], "STOP")
    machine.qmp_client.send("cont")
    with t.assertRaises(TimeoutError):
        machine.wait_for_qmp_event(lambda event: event["event"] == "NEVER", 1)
    with t.assertRaisesRegex(RuntimeError, "CommandNotFound"):
        machine.qmp_client.send("no-such-command")

with subtest("places"):
    t.assertEqual(machine.monitor_path, machine.state_dir / "monitor")
    t.assertEqual(machine.qmp_path, machine.state_dir / "qmp")
    t.assertEqual(machine.shell_path, machine.state_dir / "shell")
