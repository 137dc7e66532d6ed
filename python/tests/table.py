"""What of NixOS's surface is supported, and which script of the corpus tries it.

    python3 tests/table.py > SUPPORT.md

The list of what there is stands here; that it is tried is found in the scripts themselves.
"""

from __future__ import annotations

import ast
from collections import defaultdict

from support import CorpusScript, corpus

#: Methods of machines with their parameters, in order.
METHODS = {
    "start": ["allow_reboot"],
    "connect": [],
    "is_up": [],
    "execute": ["command", "check_return", "check_output", "timeout"],
    "succeed": ["*commands", "timeout"],
    "fail": ["*commands", "timeout"],
    "wait_until_succeeds": ["command", "timeout"],
    "wait_until_fails": ["command", "timeout"],
    "wait_for_unit": ["unit", "user", "timeout"],
    "get_unit_info": ["unit", "user"],
    "get_unit_property": ["unit", "property", "user"],
    "require_unit_state": ["unit", "require_state"],
    "systemctl": ["q", "user"],
    "start_job": ["jobname", "user"],
    "stop_job": ["jobname", "user"],
    "wait_for_file": ["filename", "timeout"],
    "wait_for_open_port": ["port", "addr", "timeout"],
    "wait_for_closed_port": ["port", "addr", "timeout"],
    "wait_for_open_unix_socket": ["addr", "is_datagram", "timeout"],
    "wait_for_console_text": ["regex", "timeout"],
    "get_console_log": [],
    "send_console": ["chars"],
    "get_tty_text": ["tty"],
    "wait_until_tty_matches": ["tty", "regexp", "timeout"],
    "dump_tty_contents": ["tty"],
    "send_key": ["key", "delay", "log"],
    "send_chars": ["chars", "delay"],
    "send_monitor_command": ["command"],
    "screenshot": ["filename"],
    "get_screen_text": [],
    "get_screen_text_variants": [],
    "wait_for_text": ["regex", "timeout"],
    "wait_for_x": ["timeout"],
    "get_window_names": [],
    "wait_for_window": ["regexp", "timeout"],
    "wait_for_qmp_event": ["event_filter", "timeout"],
    "copy_from_host": ["source", "target"],
    "copy_from_host_via_shell": ["source", "target"],
    "copy_from_machine": ["source", "target_dir"],
    "copy_from_vm": ["source", "target_dir"],
    "sleep": ["secs"],
    "shutdown": [],
    "crash": [],
    "reboot": [],
    "wait_for_shutdown": [],
    "switch_root": [],
    "release": [],
    "block": [],
    "unblock": [],
    "forward_port": ["host_port", "guest_port"],
    "shell_interact": ["address"],
    "console_interact": [],
    "ssh_backdoor_command": ["index"],
    "log": ["msg"],
    "log_serial": ["msg"],
    "nested": ["msg", "attrs"],
    "run_callbacks": [],
    "cleanup_statedir": [],
}
ATTRIBUTES = [
    "name",
    "booted",
    "connected",
    "pid",
    "process",
    "state_dir",
    "shared_dir",
    "out_dir",
    "tmp_dir",
    "start_command",
    "callbacks",
    "qmp_client",
    "monitor_path",
    "qmp_path",
    "shell_path",
]
GLOBALS = {
    "start_all": [],
    "join_all": [],
    "machines": None,
    "machines_qemu": None,
    "machines_nspawn": None,
    "machine": None,
    "vlans": None,
    "vlan1": None,
    "driver": None,
    "log": None,
    "os": None,
    "t": None,
    "debug": None,
    "create_machine": ["start_command", "name", "keep_machine_state", "keep_vm_state"],
    "subtest": ["name"],
    "run_tests": None,
    "test_script": None,
    "retry": ["fn", "timeout", "timeout_seconds"],
    "serial_stdout_on": [],
    "serial_stdout_off": [],
    "polling_condition": ["fun_", "seconds_interval", "description"],
    "dump_machine_ssh": ["offset"],
    "BaseMachine": None,
    "Machine": None,
    "QemuMachine": None,
    "NspawnMachine": None,
}
LOG = {
    "log": ["message", "attributes"],
    "debug": ["message"],
    "info": ["message"],
    "warning": ["message"],
    "error": ["message"],
    "log_test_error": ["message"],
    "log_serial": ["message", "machine"],
    "nested": ["message", "attributes"],
    "subtest": ["name", "attributes"],
    "print_serial_logs": ["enable"],
    "set_log_level": ["level"],
}
DRIVER = {
    "start_all": [],
    "join_all": [],
    "create_machine": ["start_command", "name"],
    "subtest": ["name"],
    "polling_condition": ["fun_", "seconds_interval", "description"],
    "check_polling_conditions": [],
    "serial_stdout_on": [],
    "serial_stdout_off": [],
    "dump_machine_ssh": ["offset"],
    "test_symbols": [],
    "terminate_test": None,
    "machines": None,
    "machines_qemu": None,
    "machines_nspawn": None,
    "vlans": None,
    "polling_conditions": None,
    "global_timeout": None,
    "out_dir": None,
    "tests": None,
    "logger": None,
    "debug": None,
}
#: What else scripts reach: the whole expression, and where it is.
OTHERS = {
    "condition.wait": ["timeout"],
    "debug.breakpoint": ["host", "port"],
    "qmp_client.send": ["cmd", "args"],
    "qmp_client.wait_for_event": [],
    "qmp_client.events": [],
    "process.poll": [],
    "process.wait": ["timeout"],
    "process.pid": None,
    "vlan1.nr": None,
    "vlan1.socket_dir": None,
    "vlan1.pid": None,
}
ERRORS = {
    "RequestedAssertionFailed": None,
}

Uses = "dict[str, set[str]]"


def uses() -> dict[str, set[str]]:
    """All that the scripts use: things and parameters of things, and the scripts that do."""
    found: dict[str, set[str]] = defaultdict(set)
    for script in corpus():
        if not script.path.stem.startswith("real_"):
            for thing in _used(script):
                found[thing].add(script.path.stem)
    return found


def _used(script: CorpusScript) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(script.text)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            for name in _names(node):
                found.add(name)
        elif isinstance(node, ast.Call):
            for name in _names(node.func):
                found |= {f"{name}#{number}" for number in range(len(node.args))}
                found |= {f"{name}={keyword.arg}" for keyword in node.keywords}
    return found


def _names(node: ast.expr) -> list[str]:
    """How an expression may be looked up: by all of it, and by its last names only."""
    if isinstance(node, ast.Name):
        return [node.id]
    if not isinstance(node, ast.Attribute):
        return []
    owner = node.value
    if isinstance(owner, ast.Attribute):
        return [f".{node.attr}", f"{owner.attr}.{node.attr}"]
    if not isinstance(owner, ast.Name):
        return [f".{node.attr}"]
    names = [f"{owner.id}.{node.attr}"]
    if owner.id not in ("log", "driver", "debug", "os", "t"):
        names.append(f".{node.attr}")
    if owner.id == "file_is_there":
        names.append(f"condition.{node.attr}")
    return names


def parameter_uses(
    found: dict[str, set[str]], name: str, parameters: list[str], at: int
) -> set[str]:
    """The scripts that hand in a parameter, by its place or by its name."""
    parameter = parameters[at]
    if parameter.startswith("*"):
        return found[f"{name}#0"]
    places = found[f"{name}#{at}"] if not parameters[0].startswith("*") else set()
    return places | found[f"{name}={parameter}"]


def section(
    found: dict[str, set[str]],
    title: str,
    things: dict[str, list[str] | None],
    prefix: str,
) -> list[str]:
    lines = ["", f"## {title}", "", "| what | tried in |", "|---|---|"]
    for thing, parameters in things.items():
        name = prefix + thing
        call = "" if parameters is None else "()"
        lines.append(f"| `{thing}{call}` | {_scripts(found[name])} |")
        for at, parameter in enumerate(parameters or []):
            scripts = parameter_uses(found, name, parameters or [], at)
            lines.append(f"| `{thing}(… {parameter} …)` | {_scripts(scripts)} |")
    return lines


def _scripts(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "**nothing**"


def table() -> str:
    """The whole table."""
    found = uses()
    attributes: dict[str, list[str] | None] = dict.fromkeys(ATTRIBUTES)
    lines = [
        "# What of NixOS's test driver is supported",
        "",
        "Made from the scripts in `tests/corpus` by `tests/table.py`, and checked by a test.",
        "All of this is tried in the scripts that are named.",
        *section(found, "Globals", GLOBALS, ""),
        *section(found, "Methods of machines", METHODS, "."),
        *section(found, "Attributes of machines", attributes, "."),
        *section(found, "Methods of the log", LOG, "log."),
        *section(found, "The driver", DRIVER, "driver."),
        *section(found, "Other things that scripts reach", OTHERS, ""),
        *section(found, "Errors, from `test_driver.errors`", ERRORS, ""),
        "",
        "## What scripts need",
        "",
        "| script | machines | needs |",
        "|---|---|---|",
    ]
    for script in corpus():
        if script.path.stem.startswith("real_"):
            continue
        machines = script.words("machines") or ["machine"]
        kinds = ", ".join(machines + [f"{name} (container)" for name in script.words("containers")])
        lines.append(f"| {script.path.stem} | {kinds} | {script.line('needs') or ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
