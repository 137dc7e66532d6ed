"""All of the surface is tried, and the table says so."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from attest.nixos import NspawnMachine, QemuMachine
from table import ATTRIBUTES, METHODS, table

TABLE = Path(__file__).parent.parent / "SUPPORT.md"


def test_everything_is_tried() -> None:
    missing = [line for line in table().splitlines() if "**nothing**" in line]
    assert missing == []


def test_the_table_is_up_to_date() -> None:
    assert TABLE.read_text() == table(), "run: python3 tests/table.py > SUPPORT.md"


@pytest.mark.parametrize("name", METHODS)
def test_methods_have_these_parameters(name: str) -> None:
    parameters = inspect.signature(getattr(QemuMachine, name)).parameters
    shown = [
        "*" + parameter.name if parameter.kind is parameter.VAR_POSITIONAL else parameter.name
        for parameter in parameters.values()
    ]
    assert shown[1:] == METHODS[name]


@pytest.mark.parametrize(
    ("method", "defaults"),
    {
        "start": {"allow_reboot": False},
        "execute": {"check_return": True, "check_output": True, "timeout": 900},
        "succeed": {"timeout": None},
        "fail": {"timeout": None},
        "wait_until_succeeds": {"timeout": 900},
        "wait_until_fails": {"timeout": 900},
        "wait_for_unit": {"user": None, "timeout": 900},
        "get_unit_info": {"user": None},
        "get_unit_property": {"user": None},
        "require_unit_state": {"require_state": "active"},
        "systemctl": {"user": None},
        "start_job": {"user": None},
        "stop_job": {"user": None},
        "wait_for_file": {"timeout": 900},
        "wait_for_open_port": {"addr": "localhost", "timeout": 900},
        "wait_for_closed_port": {"addr": "localhost", "timeout": 900},
        "wait_for_open_unix_socket": {"is_datagram": False, "timeout": 900},
        "wait_for_console_text": {"timeout": None},
        "wait_until_tty_matches": {"timeout": 900},
        "send_key": {"delay": 0.01, "log": True},
        "send_chars": {"delay": 0.01},
        "wait_for_text": {"timeout": 900},
        "wait_for_x": {"timeout": 900},
        "wait_for_window": {"timeout": 900},
        "wait_for_qmp_event": {"timeout": 600},
        "copy_from_machine": {"target_dir": ""},
        "forward_port": {"host_port": 8080, "guest_port": 80},
        "shell_interact": {"address": None},
    }.items(),
)
def test_methods_have_these_defaults(method: str, defaults: dict[str, object]) -> None:
    parameters = inspect.signature(getattr(QemuMachine, method)).parameters.values()
    found = {one.name: one.default for one in parameters if one.default is not one.empty}
    assert found == defaults


def test_attributes_are_there() -> None:
    for name in set(ATTRIBUTES) - {"name", "callbacks"}:
        assert isinstance(getattr(QemuMachine, name), property), name


def test_containers_have_what_all_machines_have() -> None:
    for name in ("execute", "succeed", "wait_for_unit", "copy_from_host", "wait_for_shutdown"):
        assert hasattr(NspawnMachine, name)
    assert not hasattr(NspawnMachine, "screenshot")
