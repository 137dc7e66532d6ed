"""Units of users."""
# needs: systemd user

user = os.environ.get("CORPUS_USER", "root")
machine.systemctl("start default.target", user)
machine.wait_for_unit("default.target", user, 60)
machine.systemctl(q="start default.target", user=user)
machine.start_job(jobname="default.target", user=user)
t.assertEqual(machine.get_unit_property("default.target", "ActiveState", user), "active")
t.assertEqual(machine.get_unit_info("default.target", user)["ActiveState"], "active")
machine.stop_job(jobname="corpus-nothing.service", user=user)
