"""What scripts import from NixOS's driver is there, too."""
import test_driver.machine
from test_driver.driver import Driver
from test_driver.errors import RequestedAssertionFailed
from test_driver.logger import LogLevel
from test_driver.machine import BaseMachine as Base
from test_driver.polling_condition import PollingCondition
from test_driver.vlan import VLan

t.assertIsInstance(driver, Driver)
t.assertIsInstance(machine, Base)
t.assertIsInstance(vlan1, VLan)
t.assertIs(test_driver.machine.QemuMachine, QemuMachine)
log.set_log_level(LogLevel.INFO)
with t.assertRaises(RequestedAssertionFailed):
    machine.succeed("false")
del PollingCondition
