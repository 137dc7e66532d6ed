"""What scripts import from NixOS's driver is there, too."""
import test_driver.machine  # type: ignore
from test_driver.driver import Driver  # type: ignore
from test_driver.errors import RequestedAssertionFailed  # type: ignore
from test_driver.logger import LogLevel  # type: ignore
from test_driver.machine import BaseMachine as Base  # type: ignore
from test_driver.polling_condition import PollingCondition  # type: ignore
from test_driver.vlan import VLan  # type: ignore

t.assertIsInstance(driver, Driver)
t.assertIsInstance(machine, Base)
t.assertIsInstance(vlan1, VLan)
t.assertIs(test_driver.machine.QemuMachine, QemuMachine)
log.set_log_level(LogLevel.INFO)
with t.assertRaises(RequestedAssertionFailed):
    machine.succeed("false")
del PollingCondition
