"""The driver of a script: what the script's globals come from."""

from __future__ import annotations

import os

from .._values import kind, text
from ..errors import RpcError
from .base import BaseMachine
from .logger import Logger, Nested, Subtest
from .nspawn import NspawnMachine
from .polling import Poll, PollingCondition
from .qemu import QemuMachine
from .retrying import retry
from .surroundings import Surroundings
from .vlan import VLan

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Callable, overload

    from .._lab import Lab
    from .._rpc import Client
    from .debug import DebugNop
    from .polling import Condition

#: What a script may take when nobody said otherwise, in seconds: a week.
DEFAULT_GLOBAL_TIMEOUT = 7 * 24 * 60 * 60


class Driver:
    """What scripts know as ``driver``."""

    def __init__(self, client: Client, described: dict[str, Any]) -> None:
        lab = described.get("lab") or {}
        self._client = client
        self._lab = int(lab.get("id", 1))
        self._output = str(described.get("output") or ".")
        self._interactive = bool(described.get("interactive", False))
        timeout = described.get("global_timeout")
        #: What the script may take, in seconds; attest ends it then.
        self.global_timeout: int = DEFAULT_GLOBAL_TIMEOUT if timeout is None else round(timeout)
        self.logger = Logger(client, exit_on_error=not self._interactive)
        hook = described.get("debug_hook")
        self.debug = _debug(self.logger, hook if isinstance(hook, str) else None)
        #: The script.
        self.tests = ""
        #: The conditions that must hold now.
        self.polling_conditions: list[PollingCondition] = []
        self._surroundings = Surroundings(
            client,
            self.logger,
            self._output,
            described.get("base_dir"),
            described.get("shared_dir"),
        )
        self._surroundings.callbacks.append(self.check_polling_conditions)
        self._surroundings.next_check = self._next_check
        #: The virtual networks.
        self.vlans: list[VLan] = [VLan(vlan) for vlan in lab.get("vlans") or []]
        #: The lab, in scripts of attest's own.
        self.lab: Lab | None = None
        if described.get("surface") == "attest":
            from .._lab import Lab as OwnLab

            self.lab = OwnLab(client, lab, None, self._surroundings)
        machines: list[BaseMachine] = (
            [self._machine(machine) for machine in lab.get("machines") or []]
            if self.lab is None
            else list(self.lab)
        )
        #: The virtual machines.
        self.machines_qemu: list[QemuMachine] = [
            machine for machine in machines if isinstance(machine, QemuMachine)
        ]
        #: The containers.
        self.machines_nspawn: list[NspawnMachine] = [
            machine for machine in machines if isinstance(machine, NspawnMachine)
        ]
        #: Runs the script; the runner puts it in.
        self._run: Callable[[Driver], None] | None = None

    def _machine(self, described: dict[str, Any]) -> QemuMachine | NspawnMachine:
        described = {"lab": self._lab, **described}
        if str(described.get("kind", "")) in ("container-script", "nspawn"):
            return NspawnMachine(self._surroundings, described)
        return QemuMachine(self._surroundings, described)

    @property
    def machines(self) -> list[QemuMachine | NspawnMachine]:
        """All machines, by name."""
        machines: list[QemuMachine | NspawnMachine] = [*self.machines_qemu, *self.machines_nspawn]
        machines.sort(key=lambda machine: machine.name)
        return machines

    @property
    def out_dir(self) -> Path:
        """The directory of results, on the host."""
        from pathlib import Path

        return Path(self._output)

    # The whole.

    def start_all(self) -> None:
        """Starts all machines, at the same time, without waiting until they are up."""
        with self.logger.nested("start all VMs"):
            off = [machine for machine in self.machines if not machine.booted]
            begun = []
            for machine in off:
                machine._starting()
                params = machine._params({"allow_reboot": False})
                begun.append((machine, self._client.begin("machine.start", params)))
            failure: Exception | None = None
            for machine, pending in begun:
                try:
                    machine._started(self._client.finish(pending).result)
                except RpcError as error:
                    # The others have been started as well: say what happened to the first one.
                    failure = failure or machine._failure(error)
            if failure is not None:
                raise failure

    def join_all(self) -> None:
        """Waits until all machines have powered off."""
        with self.logger.nested("wait for all VMs to finish"):
            for machine in self.machines:
                machine.wait_for_shutdown()

    def terminate_test(self) -> None:
        """Ends all machines, and the script by SIGTERM."""
        import signal

        with self.logger.nested("timeout reached; test terminating..."):
            for machine in self.machines:
                machine.release()
            os.kill(os.getpid(), signal.SIGTERM)

    def create_machine(
        self,
        start_command: str | dict[str, Any],
        *,
        name: str | None = None,
        keep_machine_state: bool = False,
        keep_vm_state: bool = False,
    ) -> QemuMachine:
        """Makes one more virtual machine, which is off.

        ``start_command`` is the path of a start script or a piece of shell, or, as the oldest
        scripts have it, a dictionary from which a command of QEMU is made. The name is, unless it
        is given, what stands between ``run-`` and ``-vm``, else ``machine``.

        A machine of that name that was made before is ended. Raises MachineError when the new one
        cannot be made.
        """
        if isinstance(start_command, dict):
            from .legacy import command_of

            self.logger.warning("create_machine() with a dictionary is deprecated")
            name = name or start_command.get("name") or "machine"
            start_command = command_of(start_command)
        elif not isinstance(start_command, str):
            raise TypeError(
                f"create_machine() takes a start command as a string, not {kind(start_command)}"
            )
        params = {
            "lab": self._lab,
            "start_command": text(start_command, "a start command"),
            "name": name,
            "keep_state": bool(keep_machine_state or keep_vm_state),
        }
        try:
            described = self._client.call("lab.create_machine", params).result
        except RpcError as error:
            from ..errors import MachineError

            raise MachineError(error.message) from None
        surroundings = Surroundings(
            self._client,
            self.logger,
            self._output,
            self._surroundings.base_dir,
            self._surroundings.shared_dir,
        )
        # A machine that a script makes does not ask the polling conditions.
        return QemuMachine(surroundings, {"lab": self._lab, **described})

    def dump_machine_ssh(self, offset: int) -> None:
        """Prints how to get a root shell in each machine; the first is number ``offset + 1``."""
        machines = self.machines
        width = max((len(machine.name) for machine in machines), default=0) + 2
        print("SSH backdoor enabled, the machines can be accessed like this:")
        print("ssh takes these names where systemd-ssh-proxy(1) is set up on this host.")
        for index, machine in enumerate(machines, start=offset + 1):
            command = machine.ssh_backdoor_command(index)
            print(f"    {machine.name + ':':{width}}{command}")

    # The log.

    def subtest(self, name: str) -> Nested:
        """A part of the script that is a test of its own in reports: ``with subtest("x"): …``."""
        return Subtest(self.logger, name)

    def serial_stdout_on(self) -> None:
        """Shows what serial consoles say."""
        self.logger.print_serial_logs(True)

    def serial_stdout_off(self) -> None:
        """Shows no more what serial consoles say."""
        self.logger.print_serial_logs(False)

    # Conditions.

    def check_polling_conditions(self) -> None:
        """Asks the conditions that are due.

        Raises PollingConditionError when one does not hold.
        """
        for condition in list(self.polling_conditions):
            condition.maybe_raise()

    def _next_check(self) -> float | None:
        due = [condition.due_in for condition in self.polling_conditions]
        return min((seconds for seconds in due if seconds is not None), default=None)

    if TYPE_CHECKING:

        @overload
        def polling_condition(
            self,
            fun_: None = None,
            *,
            seconds_interval: float = 2.0,
            description: str | None = None,
        ) -> Callable[[Condition], Poll]: ...

        @overload
        def polling_condition(
            self,
            fun_: Condition,
            *,
            seconds_interval: float = 2.0,
            description: str | None = None,
        ) -> Poll: ...

    def polling_condition(
        self,
        fun_: Condition | None = None,
        *,
        seconds_interval: float = 2.0,
        description: str | None = None,
    ) -> Callable[[Condition], Poll] | Poll:
        """Makes a condition of a function that gives something true, or None, while all is well.

        It is asked every ``seconds_interval`` seconds (2.0) while the script stands in ``with`` of
        it and does something with machines, also in the middle of waits. It is a decorator, with
        and without arguments.
        """

        def make(function: Condition) -> Poll:
            return Poll(self, function, seconds_interval, description)

        return make if fun_ is None else make(fun_)

    # Scripts.

    def test_script(self) -> None:
        """Runs the script."""
        if self.lab is not None:
            # attest has said already which test it runs.
            if self._run is not None:
                self._run(self)
            return
        with self.logger.nested("run the VM test script"):
            if self._run is not None:
                self._run(self)

    def run_tests(self) -> None:
        """Runs the script, and writes what the machines hold back to their disks."""
        if self.lab is None:
            self.logger.info(f"Test will time out and terminate in {self.global_timeout} seconds")
        self.test_script()
        for machine in self.machines:
            if machine.is_up():
                machine._call("machine.sync")

    def test_symbols(self) -> dict[str, Any]:
        """The globals of a script."""
        symbols = self._symbols()
        if self.lab is not None:
            return {**symbols, "lab": self.lab}
        print(
            "additionally exposed symbols:\n    "
            + ", ".join(machine.name for machine in self.machines)
            + ",\n    "
            + ", ".join(f"vlan{vlan.nr}" for vlan in self.vlans)
            + ",\n    "
            + ", ".join(self._general_symbols())
        )
        return symbols

    def _symbols(self) -> dict[str, Any]:
        symbols = self._general_symbols()
        machines = self.machines
        for machine in machines:
            symbols[pythonize_name(machine.name)] = machine
        if len(machines) == 1:
            symbols["machine"] = machines[0]
        for vlan in self.vlans:
            symbols[f"vlan{vlan.nr}"] = vlan
        return symbols

    def _general_symbols(self) -> dict[str, Any]:
        from .lazy import LazyTester

        return {
            "start_all": self.start_all,
            "test_script": self.test_script,
            "machines": self.machines,
            "machines_qemu": self.machines_qemu,
            "machines_nspawn": self.machines_nspawn,
            "vlans": self.vlans,
            "driver": self,
            "log": self.logger,
            "os": os,
            "create_machine": self.create_machine,
            "subtest": self.subtest,
            "run_tests": self.run_tests,
            "join_all": self.join_all,
            "retry": retry,
            "serial_stdout_off": self.serial_stdout_off,
            "serial_stdout_on": self.serial_stdout_on,
            "polling_condition": self.polling_condition,
            "BaseMachine": BaseMachine,
            "Machine": QemuMachine,
            "QemuMachine": QemuMachine,
            "NspawnMachine": NspawnMachine,
            "t": LazyTester(),
            "debug": self.debug,
            "dump_machine_ssh": self.dump_machine_ssh,
        }


def pythonize_name(name: str) -> str:
    """A machine's name as a name of Python."""
    letters = [
        letter if letter == "_" or (letter.isascii() and letter.isalnum()) else "_"
        for letter in name
    ]
    if letters and letters[0].isdigit():
        letters[0] = "_"
    return "".join(letters)


def _debug(logger: Logger, hook: str | None) -> DebugNop:
    from .debug import Debug, DebugNop

    return DebugNop() if hook is None else Debug(logger, hook)
