"""A server that speaks attest's protocol, with the machines of the mock."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable

from mock_machine import MockMachine


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, kind: str, message: str, code: int = -32000, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.data = {"kind": kind, **data}


class Server:
    """One server; ``client_fd`` is the other end."""

    def __init__(
        self,
        machines: list[str] | None = None,
        containers: list[str] | None = None,
        connection: socket.socket | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="attest-mock")
        self.directory = Path(self._temporary.name).resolve()
        self.shared = self.directory / "shared-xchg"
        self.shared.mkdir()
        self.output = self.directory / "out"
        self.output.mkdir()
        if connection is None:
            self.connection, client = socket.socketpair()
            self.client_fd = client.detach()
        else:
            self.connection = connection
        self.machines: dict[str, MockMachine] = {}
        for name in ["machine"] if machines is None else machines:
            self.machines[name] = MockMachine(self, name)
        for name in containers or []:
            self.machines[name] = MockMachine(self, name, "container-script")
        #: The machines of each lab; those of the session are in the first.
        self.labs = {1: self.machines}
        self.next_lab = 2
        #: What puts each machine back, by the number of the snapshot.
        self.snapshots: dict[int, dict[str, Callable[[MockMachine], None]]] = {}
        self.next_snapshot = 1
        self.vlans = [{"nr": 1, "socket_dir": str(self.directory / "vde1.ctl"), "pid": 4321}]
        self.described: dict[str, Any] = {
            "surface": "nixos",
            "output": str(self.output),
            "script": None,
            "interactive": False,
            "global_timeout": 3600,
            "debug_hook": None,
            "log_level": "info",
            "base_dir": str(self.directory),
            "shared_dir": str(self.shared),
        }
        #: Methods that a test answers itself.
        self.answers: dict[str, Callable[[dict[str, Any], list[bytes]], Any]] = {}
        #: All that came: (method, params).
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.cancelled: list[int] = []
        self.ended: dict[str, Any] | None = None
        self._cancels: dict[int, threading.Event] = {}
        self._sending = threading.Lock()
        self.came = threading.Condition()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for cancel in list(self._cancels.values()):
            cancel.set()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.connection.close()
        self._temporary.cleanup()

    def script(self, text: str, name: str = "<string>") -> None:
        """Gives the runner a script."""
        path = self.directory / "test-script"
        path.write_text(text)
        self.described["script"] = {"path": str(path), "name": name}

    def part(self, kind: str, function: str, value: object = None) -> None:
        """Lets the runner run one function of the script, as of attest's own."""
        self.described["surface"] = "attest"
        self.described["part"] = {"kind": kind, "function": function, "value": value}

    def log(self, *levels: str) -> list[str]:
        """The lines that were logged, of these levels only if there are some."""
        return [
            params["message"]
            for method, params in self.calls
            if method == "log.line" and (not levels or params["level"] in levels)
        ]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Waits until something that came makes this true."""
        with self.came:
            assert self.came.wait_for(condition, 20), self.calls

    def send(self, data: bytes) -> None:
        """Sends bytes, which may be no message at all."""
        with self._sending, contextlib.suppress(OSError):
            self.connection.sendall(data)

    # The wire.

    def _serve(self) -> None:
        stream = self.connection.makefile("rb")
        while True:
            try:
                line = stream.readline()
            except (OSError, ValueError):
                break
            if not line:
                break
            message = json.loads(line)
            data = [stream.read(size) for size in message.get("attachments", [])]
            number = message.get("id")
            if number is None:
                self._record(message["method"], message["params"])
                if message["method"] == "cancel":
                    self.cancelled.append(message["params"]["id"])
                    if message["params"]["id"] in self._cancels:
                        self._cancels[message["params"]["id"]].set()
                continue
            self._cancels[number] = threading.Event()
            threading.Thread(
                target=self._answer,
                args=(number, message["method"], message["params"], data),
                daemon=True,
            ).start()
        stream.close()
        for cancel in list(self._cancels.values()):
            cancel.set()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _record(self, method: str, params: dict[str, Any]) -> None:
        with self.came:
            self.calls.append((method, params))
            self.came.notify_all()

    def _answer(self, number: int, method: str, params: dict[str, Any], data: list[bytes]) -> None:
        self._record(method, params)
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        attachments: list[bytes] = []
        try:
            result = self._do(method, params, data, self._cancels[number])
            if isinstance(result, tuple):
                result, attachments = result
            message["result"] = result
        except Refusal as refusal:
            message["error"] = {
                "code": refusal.code,
                "message": str(refusal),
                "data": refusal.data,
            }
        except Exception as error:
            message["error"] = {
                "code": -32603,
                "message": f"the mock broke: {error!r}",
                "data": {"kind": "infrastructure"},
            }
        if attachments:
            message["attachments"] = [len(one) for one in attachments]
        self.send(b"".join([json.dumps(message).encode(), b"\n", *attachments]))

    def _do(
        self, method: str, params: dict[str, Any], data: list[bytes], cancelled: threading.Event
    ) -> Any:
        if method in self.answers:
            return self.answers[method](params, data)
        if method.startswith("machine."):
            name = params["machine"]
            machines = self.labs[params["lab"]]
            if name not in machines:
                raise Refusal("usage", f"there is no machine `{name}`")
            run = getattr(self, "machine_" + method[8:])
            return run(machines[name], params, data, cancelled)
        return getattr(self, method.replace(".", "_"))(params)

    # The session, and labs.

    def hello(self, params: dict[str, Any]) -> Any:
        return {"generation": params["generation"], "version": "0.1.0", "pid": os.getpid()}

    def lab(self, number: int = 1) -> dict[str, Any]:
        return {
            "id": number,
            "output": str(self.output),
            "machines": [
                {**machine.describe(), "lab": number} for machine in self.labs[number].values()
            ],
            "networks": [{"name": "lan"}],
            "vlans": self.vlans,
        }

    def session_describe(self, params: dict[str, Any]) -> Any:
        return {**self.described, "lab": self.lab()}

    def script_ended(self, params: dict[str, Any]) -> Any:
        self.ended = params
        return {}

    def log_flush(self, params: dict[str, Any]) -> Any:
        return {}

    def lab_open(self, params: dict[str, Any]) -> Any:
        manifest = Path(params["manifest"])
        if manifest.is_dir():
            manifest /= "attest.toml"
        if not manifest.exists():
            raise Refusal("usage", f"{manifest} cannot be read: No such file or directory")
        number = self.next_lab
        self.next_lab += 1
        names = re.findall(r"^\[machines\.(.+)\]$", manifest.read_text(), re.MULTILINE)
        self.labs[number] = {name: MockMachine(self, name, "qemu", number) for name in names}
        if params["start"]:
            self.lab_start({"lab": number})
        return {**self.lab(number), "output": params.get("output") or str(self.output)}

    def lab_start(self, params: dict[str, Any]) -> Any:
        for machine in self.labs[params["lab"]].values():
            if not machine.booted:
                machine.boot()
        return {}

    def lab_close(self, params: dict[str, Any]) -> Any:
        for machine in self.labs.pop(params["lab"]).values():
            machine.end()
        return {}

    def _save(self, machines: dict[str, MockMachine]) -> dict[str, Any]:
        number = self.next_snapshot
        self.next_snapshot += 1
        place = self.directory / f"snapshot{number}"
        self.snapshots[number] = {
            name: machine.save(place / name) for name, machine in machines.items()
        }
        return {"id": number}

    def _saved(self, number: int) -> dict[str, Callable[[MockMachine], None]]:
        if number not in self.snapshots:
            raise Refusal("usage", f"there is no snapshot {number} in this session")
        return self.snapshots[number]

    def lab_snapshot(self, params: dict[str, Any]) -> Any:
        return self._save(self.labs[params["lab"]])

    def lab_restore(self, params: dict[str, Any]) -> Any:
        for name, restore in self._saved(params["snapshot"]).items():
            restore(self.labs[params["lab"]][name])
        return {}

    def lab_fork(self, params: dict[str, Any]) -> Any:
        saved = params.get("snapshot") or self.lab_snapshot(params)["id"]
        number = self.next_lab
        self.next_lab += 1
        self.labs[number] = {}
        for name, restore in self._saved(saved).items():
            machine = self.labs[number][name] = MockMachine(self, name, "qemu", number)
            restore(machine)
        return self.lab(number)

    def snapshot_drop(self, params: dict[str, Any]) -> Any:
        self._saved(params["snapshot"])
        del self.snapshots[params["snapshot"]]
        return {}

    def machine_snapshot(self, machine: MockMachine, *_: Any) -> Any:
        return self._save({machine.name: machine})

    def machine_restore(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        self._saved(params["snapshot"])[machine.name](machine)
        return {}

    def lab_environment(self, params: dict[str, Any]) -> Any:
        self.environment = params["environment"]
        return {}

    def lab_create_machine(self, params: dict[str, Any]) -> Any:
        found = re.search(r"run-(.+)-vm$", params["start_command"])
        name = params["name"] or (found[1] if found else "machine")
        if name in self.machines:
            # As with a driver that starts over: what was of that name is gone.
            self.machines.pop(name).remove()
        self.machines[name] = MockMachine(self, name)
        self.machines[name].command = params["start_command"]
        return self.machines[name].describe()

    # Life of a machine.

    def machine_start(self, machine: MockMachine, *_: Any) -> Any:
        started = not machine.booted
        if started:
            machine.boot()
        return {"pid": 1234, "started": started}

    def machine_connect(
        self, machine: MockMachine, params: dict[str, Any], _: Any, cancelled: threading.Event
    ) -> Any:
        if not machine.booted:
            machine.boot()
        while machine.token == params["after"]:
            if not machine.booted:
                raise Refusal("machine", f"machine `{machine.name}` ended", machine=machine.name)
            if cancelled.wait(0.01):
                raise Refusal("cancelled", "cancelled")
        return {"token": machine.token, "agent": True}

    def machine_state(self, machine: MockMachine, *_: Any) -> Any:
        return {
            "booted": machine.booted,
            "pid": 1234 if machine.booted else None,
            "ready": machine.booted,
            "token": machine.token if machine.booted else None,
        }

    def machine_wait_ended(
        self, machine: MockMachine, params: dict[str, Any], _: Any, cancelled: threading.Event
    ) -> Any:
        deadline = None if params["timeout"] is None else time.monotonic() + params["timeout"]
        while machine.booted:
            if cancelled.wait(0.01):
                raise Refusal("cancelled", "cancelled")
            if deadline is not None and time.monotonic() >= deadline:
                raise Refusal("timed-out", "timed out: the machine runs")
        return {"how": "powered-off"}

    def _ends(self, machine: MockMachine, *_: Any) -> Any:
        machine.end()
        return {}

    machine_power_off = machine_kill = machine_release = _ends

    def machine_reboot(self, machine: MockMachine, *_: Any) -> Any:
        machine.reboot()
        return {}

    def _nothing(self, *_: Any) -> Any:
        return {}

    def machine_balloon(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        machine.balloon = params["bytes"]
        return {}

    def machine_balloon_statistics(self, machine: MockMachine, *_: Any) -> Any:
        unknown = dict.fromkeys(
            ("free", "available", "disk_caches", "swap_in", "swap_out", "major_faults")
        )
        sizes = {"target": machine.balloon, "actual": machine.balloon, "total": 1 << 30}
        return {**sizes, **unknown, "minor_faults": 7}

    machine_pause = machine_resume = machine_sync = machine_forward = _nothing

    # Commands and waits.

    def machine_exec(
        self,
        machine: MockMachine,
        params: dict[str, Any],
        data: list[bytes],
        cancelled: threading.Event,
    ) -> Any:
        if not machine.booted:
            raise Refusal("machine", f"machine `{machine.name}` is off", machine=machine.name)
        command = params.get("command")
        if command is None:
            command = " ".join("'" + word.replace("'", "'\\''") + "'" for word in params["argv"])
        stdin = data[0] if data else b""
        if params.get("detach"):
            threading.Thread(
                target=machine.exec, args=(command, None, stdin, cancelled), daemon=True
            ).start()
            return {}
        started = time.monotonic()
        code, timed_out, stdout, stderr = machine.exec(
            command, params.get("timeout"), stdin, cancelled
        )
        if params.get("stderr") == "console" and stderr:
            machine.say(stderr.decode("utf-8", "replace").rstrip("\n"))
        if not machine.booted:
            raise Refusal("machine", f"machine `{machine.name}` ended", machine=machine.name)
        result = {
            "code": code if code >= 0 else 128 - code,
            "signal": -code if code < 0 else None,
            "timed_out": timed_out,
            "seconds": time.monotonic() - started,
        }
        return (result, [stdout, stderr])

    def machine_wait(
        self, machine: MockMachine, params: dict[str, Any], _: Any, cancelled: threading.Event
    ) -> Any:
        started = time.monotonic()
        timeout = params["timeout"]
        last_seen = "nothing"
        while True:
            found, stdout, last_seen = self._target(machine, params["for"], cancelled)
            seconds = time.monotonic() - started
            if found:
                result = {"seconds": seconds, "matched": None, "code": None}
                return (result, [stdout])
            if cancelled.wait(0.02):
                raise Refusal("cancelled", "cancelled")
            if timeout is not None and seconds >= timeout:
                raise Refusal(
                    "timed-out",
                    f"machine `{machine.name}`: timed out",
                    machine=machine.name,
                    last_seen=last_seen,
                )

    def _target(
        self, machine: MockMachine, target: dict[str, Any], cancelled: threading.Event
    ) -> tuple[bool, bytes, str]:
        for name in ("succeeds", "fails"):
            if name in target:
                code, _, stdout, _ = machine.exec(target[name], 60, b"", cancelled)
                return ((code == 0) == (name == "succeeds"), stdout, f"exit code {code}")
        if "file" in target:
            return (machine.path(target["file"]).exists(), b"", "no file")
        if "no_file" in target:
            return (not machine.path(target["no_file"]).exists(), b"", "a file")
        if "unix_socket" in target:
            return (machine.path(target["unix_socket"]).exists(), b"", "no socket")
        if "text_in_file" in target:
            path = machine.path(target["text_in_file"])
            there = path.exists() and re.search(target["pattern"], path.read_text())
            return (bool(there), b"", "no text")
        port = target.get("port", target.get("closed_port"))
        if port is not None:
            try:
                socket.create_connection((target["host"], port), 1).close()
                is_open = True
            except OSError:
                is_open = False
            return (is_open == ("port" in target), b"", "open" if is_open else "refused")
        raise Refusal("usage", f"no such target: {target}", -32602)

    def machine_wait_unit(
        self, machine: MockMachine, params: dict[str, Any], _: Any, cancelled: threading.Event
    ) -> Any:
        deadline = None if params["timeout"] is None else time.monotonic() + params["timeout"]
        unit = params["unit"]
        while True:
            query = f"systemctl show {unit} --property=ActiveState"
            state = machine.exec(query, 60, b"", cancelled)[2].decode().strip().partition("=")[2]
            if state == "active":
                return {"seconds": 0.1}
            if state in ("failed", "inactive"):
                raise Refusal(
                    "unit",
                    f"unit `{unit}` of machine `{machine.name}` is {state}",
                    machine=machine.name,
                    detail={"unit": unit, "state": state},
                )
            if cancelled.wait(0.02):
                raise Refusal("cancelled", "cancelled")
            if deadline is not None and time.monotonic() >= deadline:
                raise Refusal("timed-out", "timed out", machine=machine.name, last_seen=state)

    def machine_unit(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        query = f"systemctl show {params['unit']}"
        lines = machine.exec(query, 60, b"", threading.Event())[2].decode().splitlines()
        return {"properties": dict(line.split("=", 1) for line in lines)}

    # Files.

    def machine_upload(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        target = machine.path(params["to"])
        target.parent.mkdir(parents=True, exist_ok=True)
        return {"bytes": _copy(Path(params["from"]), target)}

    def machine_download(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        source = params["from"]
        if not source.startswith(str(machine.root)):
            source = machine.path(source)
        return {"bytes": _copy(Path(source), Path(params["to"]))}

    # The console.

    def machine_console(
        self, machine: MockMachine, params: dict[str, Any], _: Any, cancelled: threading.Event
    ) -> Any:
        at = params["from"]
        timeout = params["timeout"]
        deadline = None if timeout is None else time.monotonic() + timeout
        with machine.changed:
            while params["wait"] and len(machine.console) <= at and machine.booted:
                machine.changed.wait(0.01)
                if cancelled.is_set():
                    raise Refusal("cancelled", "cancelled")
                if deadline is not None and time.monotonic() >= deadline:
                    break
            lines = machine.console[at:]
            text = "".join(line + "\n" for line in lines).encode()
            result = {"position": at + len(lines), "ended": not machine.booted}
        return (result, [text])

    def machine_console_text(self, machine: MockMachine, *_: Any) -> Any:
        return ({}, ["".join(line + "\n" for line in machine.console).encode()])

    def machine_send_console(
        self, machine: MockMachine, params: dict[str, Any], data: list[bytes], *_: Any
    ) -> Any:
        machine.say(data[0].decode().rstrip("\n"))
        return {}

    # Screen and monitors.

    def machine_monitor(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        answers = {"info status": "VM status: running\r\n"}
        answer = answers.get(params["command"], "")
        return {"text": f"{params['command']}\r\n{answer}(qemu) "}

    def machine_qmp(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        if params["execute"] == "query-status":
            return {"return": {"status": "running", "running": True}}
        if params["execute"] in ("stop", "cont"):
            machine.event({"stop": "STOP", "cont": "RESUME"}[params["execute"]])
            return {"return": {}}
        name, text = "CommandNotFound", f"The command {params['execute']} has not been found"
        raise Refusal("command", text, detail={"class": name, "desc": text})

    def machine_qmp_events(
        self, machine: MockMachine, params: dict[str, Any], _: Any, cancelled: threading.Event
    ) -> Any:
        at = params["from"]
        timeout = params["timeout"]
        deadline = None if timeout is None else time.monotonic() + timeout
        with machine.changed:
            while params["wait"] and len(machine.events) <= at:
                machine.changed.wait(0.01)
                if cancelled.is_set():
                    raise Refusal("cancelled", "cancelled")
                if deadline is not None and time.monotonic() >= deadline:
                    break
            return {"position": len(machine.events), "events": machine.events[at:]}

    def machine_send_keys(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        machine.keys += params["keys"]
        if "ctrl-alt-delete" in params["keys"]:
            machine.reboot()
        return {}

    def machine_send_chars(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        machine.keys += params["chars"]
        screen = machine.root / "dev/vcs1"
        with screen.open("a") as file:
            file.write(params["chars"])
        return {}

    def machine_screenshot(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        png = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
        if params["path"] is None:
            return ({"width": 720, "height": 400}, [png])
        Path(params["path"]).write_bytes(png)
        return {"width": 720, "height": 400}

    def machine_screen_text(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        screen = machine.root / "dev/vcs1"
        shown = screen.read_text() if screen.exists() else ""
        text = f"{machine.name} login: {shown}"
        return {"texts": [text, text.upper()] if params["variants"] else [text]}

    def machine_link(self, machine: MockMachine, params: dict[str, Any], *_: Any) -> Any:
        machine.link_up = params["up"]
        return {}


def _copy(source: Path, target: Path) -> int:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)
        return 0
    shutil.copy(source, target)
    return target.stat().st_size
