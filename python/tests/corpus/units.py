"""Units of systemd."""
# needs: systemd

machine.wait_for_unit("multi-user.target")

with subtest("states"):
    machine.succeed("systemd-run --unit=corpus-good -- sleep 1000")
    machine.wait_for_unit("corpus-good.service")
    machine.wait_for_unit(unit="corpus-good.service", user=None, timeout=60)
    machine.require_unit_state("corpus-good.service")
    machine.require_unit_state(unit="corpus-good.service", require_state="active")
    t.assertEqual(machine.get_unit_info("corpus-good.service")["ActiveState"], "active")
    t.assertEqual(machine.get_unit_property("corpus-good.service", "Id"), "corpus-good.service")
    info = machine.get_unit_info(unit="corpus-good.service", user=None)
    t.assertIn("Id", info)
    value = machine.get_unit_property(
        unit="corpus-good.service", property="ActiveState", user=None
    )
    t.assertEqual(value, "active")

with subtest("jobs"):
    t.assertEqual(machine.stop_job("corpus-good.service")[0], 0)
    machine.wait_until_fails("systemctl is-active corpus-good.service")
    t.assertEqual(machine.start_job("systemd-tmpfiles-setup.service")[0], 0)
    status, output = machine.systemctl("list-jobs --no-pager")
    t.assertEqual((status, output), (0, "No jobs running.\n"))

with subtest("failures are told at once"):
    machine.execute("systemd-run --unit=corpus-bad -- false")
    machine.wait_until_succeeds("systemctl is-failed corpus-bad.service")
    with t.assertRaisesRegex(Exception, 'unit "corpus-bad.service" reached state "failed"'):
        machine.wait_for_unit("corpus-bad.service")
    words = 'unit "corpus-no.service" is inactive and there are no pending jobs'
    with t.assertRaisesRegex(Exception, words):
        machine.wait_for_unit("corpus-no.service")
    with t.assertRaisesRegex(Exception, "in state 'inactive'"):
        machine.require_unit_state("corpus-no.service", "active")
