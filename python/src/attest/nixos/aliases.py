"""The modules of NixOS's driver by their own names, for scripts that import from them."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

#: What stands for which module.
_MODULES = {
    "test_driver": "attest.nixos",
    "test_driver.debug": "attest.nixos.debug",
    "test_driver.driver": "attest.nixos.driver",
    "test_driver.errors": "attest.errors",
    "test_driver.logger": "attest.nixos.logger",
    "test_driver.machine": "attest.nixos",
    "test_driver.machine.qmp": "attest.nixos.qmp",
    "test_driver.polling_condition": "attest.nixos.polling",
    "test_driver.vlan": "attest.nixos.vlan",
}


class _Finder:
    """Finds these modules when no other finder does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name not in _MODULES:
            return None
        from importlib.machinery import ModuleSpec

        # Only the two methods that the import system calls: its base class costs time to load.
        return ModuleSpec(name, _Loader(), is_package=True)  # type: ignore[arg-type]


class _Loader:
    """Gives the module that stands for another one."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        from importlib import import_module
        from types import ModuleType

        module = ModuleType(spec.name)
        for name, value in vars(import_module(_MODULES[spec.name])).items():
            if not name.startswith("__"):
                setattr(module, name, value)
        return module

    def exec_module(self, module: ModuleType) -> None:
        del module


def install() -> None:
    """Makes the modules importable, unless a real driver is installed."""
    sys.meta_path.append(_Finder())
