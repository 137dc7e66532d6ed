"""The log."""

log.info("info")
log.warning("warning")
log.debug("debug")
log.log("plain")
log.log(message="with attributes", attributes={"machine": "machine", "more": "1"})
log.log_test_error("a test error that is none")
log.log_serial("a line", "machine")
log.log_serial(message="a line", machine="machine")
with log.nested("a part"):
    with log.nested(message="in a part", attributes={"key": "value"}):
        log.info("inside")
with log.subtest("a subtest"):
    pass
with log.subtest(name="another subtest", attributes={}):
    pass
log.print_serial_logs(False)
log.print_serial_logs(enable=True)
log.set_log_level("debug")
log.set_log_level(level="info")

with subtest("a subtest by its function"):
    pass
with driver.subtest(name="and by the driver's"):
    pass

try:
    with subtest("one that fails"):
        raise ValueError("on purpose")
except ValueError as error:
    t.assertEqual(str(error), "on purpose")

try:
    log.error("an error ends the script")
except SystemExit as end:
    t.assertEqual(end.code, 1)
