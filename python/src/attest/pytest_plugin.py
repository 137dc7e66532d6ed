"""pytest with labs.

The fixture ``lab`` is the lab of a manifest: that of the marker ``@pytest.mark.lab("path")``, else
of the option ``attest_manifest`` in pytest's configuration, else the nearest ``attest.toml`` above
the test. Each test has a lab of its own; ``@pytest.mark.lab(shared="module")`` (or ``"class"``,
``"package"``, ``"session"``) shares one. Each machine is a fixture of its own name.

``@pytest.mark.lab(setup=function)`` brings a lab to a state once, by calling the function with it,
and gives each test a fork of that: the fixture ``lab_state`` is what the function returned.

What machines said on their consoles is part of the report of a test that fails.
"""

from __future__ import annotations

import copy
import os
import warnings
from pathlib import Path

import pytest

from . import errors
from ._lab import Lab
from ._lab import lab as open_lab
from ._session import Session
from .nixos.driver import pythonize_name

#: Leaves this package out of the tracebacks of pytest.
__tracebackhide__ = True

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any, Callable

    from ._machine import Machine
    from ._snapshots import Snapshot

MANIFEST = "attest.toml"
#: How many of a console's last lines are part of a report.
TAIL = 60

#: What the marker `lab` takes by name.
_OPTIONS = {"manifest", "shared", "backend", "start", "snapshots", "setup"}
_SCOPES: dict[str, Any] = {
    "class": pytest.Class,
    "module": pytest.Module,
    "package": pytest.Package,
    "session": pytest.Session,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what can be chosen."""
    group = parser.getgroup("attest")
    group.addoption(
        "--attest-backend",
        metavar="NAME",
        default=None,
        help="run all machines with this backend, such as qemu or nspawn",
    )
    group.addoption(
        "--attest-output",
        metavar="DIRECTORY",
        default=None,
        help="keep the results of each lab below this directory",
    )
    parser.addini(
        "attest_manifest", "the manifest of tests that name none, from the root", "string"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Says which markers there are."""
    config.addinivalue_line(
        "markers",
        "lab(manifest, shared=None, backend=None, start=True, snapshots=None, setup=None): the "
        "lab of a test; shared: class, module, package or session; snapshots: auto, needed, never "
        "or rebuild; setup: a function of a lab, which is called once for those who share (by "
        "default those of a module), and each test has a fork",
    )
    config.stash[_LABS] = Labs(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends attest."""
    labs = config.stash.get(_LABS, None)
    if labs is not None:
        labs.close()


class Wanted:
    """The lab that a test asks for."""

    def __init__(self, node: pytest.Item) -> None:
        manifest: Any = None
        options: dict[str, Any] = {}
        # The nearest marker comes first, and what it leaves open the next one may say.
        for marker in node.iter_markers("lab"):
            unknown = set(marker.kwargs) - _OPTIONS
            if unknown or len(marker.args) > 1:
                given = ", ".join(sorted(unknown) or map(str, marker.args))
                raise pytest.UsageError(
                    f"{node.nodeid}: the marker lab() takes a manifest, shared=, backend=, start=, "
                    f"snapshots= and setup=, not {given}"
                )
            options = {**marker.kwargs, **options}
            if manifest is None and marker.args:
                manifest = _beside(node, marker.args[0])
        named = options.pop("manifest", None)
        if manifest is None and named is not None:
            manifest = _beside(node, named)
        self.manifest: Path | None = manifest or _default(node)
        self.setup: Callable[[Lab], Any] | None = options.get("setup")
        self.shared: str | None = options.get("shared") or (self.setup and "module")
        self.backend: str | None = options.get("backend")
        self.start: bool = bool(options.get("start", True))
        self.snapshots: str | None = options.get("snapshots")
        if self.shared is not None and self.shared not in _SCOPES:
            raise pytest.UsageError(
                f"{node.nodeid}: lab(shared={self.shared!r}): it is one of {', '.join(_SCOPES)}"
            )
        if self.setup is not None and not callable(self.setup):
            raise pytest.UsageError(
                f"{node.nodeid}: lab(setup={self.setup!r}): it is a function that takes a lab"
            )

    def key(self, scope: pytest.Item | pytest.Collector) -> tuple[object, ...]:
        """What two tests must have in common to share a lab."""
        return (scope.nodeid, self.manifest, self.backend, self.start, self.snapshots, self.setup)


def _beside(node: pytest.Item, path: str | os.PathLike[str]) -> Path:
    """A path of a marker, which is relative to the test's file."""
    return Path(os.path.normpath(node.path.parent / path))


def _default(node: pytest.Item) -> Path | None:
    configured: str = node.config.getini("attest_manifest")
    if configured:
        return node.config.rootpath / configured
    for directory in node.path.parents:
        if (directory / MANIFEST).is_file():
            return directory / MANIFEST
        if directory == node.config.rootpath:
            break
    return None


class Labs:
    """The labs of this process, which share one attest; each worker of xdist has its own."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._session: Session | None = None
        self._shared: dict[tuple[object, ...], Lab] = {}
        self._saved: dict[tuple[object, ...], SetUp] = {}
        self._warned = False
        #: The lab of each test that runs.
        self.of_tests: dict[str, Lab] = {}
        #: What its set-up returned.
        self.states: dict[str, Any] = {}

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def open(self, wanted: Wanted, name: str) -> Lab:
        """Makes a lab and boots it."""
        if wanted.manifest is None:
            raise pytest.UsageError(
                f"there is no {MANIFEST} above the test, no option attest_manifest, and no marker "
                'lab("path"): the fixture `lab` has nothing to boot'
            )
        if self._session is None or self._session.client.closed:
            self._session = Session()
        output: str | None = self._config.getoption("--attest-output")
        return open_lab(
            wanted.manifest,
            backend=self._config.getoption("--attest-backend") or wanted.backend,
            output=None if output is None else os.path.join(output, self._directory(name)),
            start=wanted.start,
            snapshots=wanted.snapshots,
            session=self._session,
        )

    def _directory(self, name: str) -> str:
        """A directory's name for a test's results; workers of xdist share the one above."""
        plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
        worker: dict[str, Any] | None = getattr(self._config, "workerinput", None)
        return plain if worker is None else f"{plain}.{worker['workerid']}"

    def shared(self, wanted: Wanted, item: pytest.Item) -> Lab:
        """The lab that tests of one scope share, booted for the first of them."""
        scope = _scope(wanted, item)
        key = wanted.key(scope)
        if key not in self._shared:
            made = self.open(wanted, scope.nodeid or "session")
            self._shared[key] = made

            def end() -> None:
                del self._shared[key]
                made.close()

            scope.addfinalizer(end)
        return self._shared[key]

    def forked(self, wanted: Wanted, item: pytest.Item) -> Lab:
        """A lab of the test's own that begins as the set-up left one."""
        assert wanted.setup is not None
        scope = _scope(wanted, item)
        key = wanted.key(scope)
        saved = self._saved.get(key)
        if saved is not None and saved.snapshot is not None:
            lab = saved.snapshot.fork()
        else:
            lab = self.open(wanted, item.nodeid)
            try:
                saved = self._set_up(wanted.setup, lab, saved)
            except BaseException:
                lab.close()
                raise
            if key not in self._saved:
                scope.addfinalizer(lambda: self._forget(key))
            self._saved[key] = saved
        self.states[item.nodeid] = saved.state
        return lab

    def _set_up(self, setup: Callable[[Lab], Any], lab: Lab, before: SetUp | None) -> SetUp:
        """Sets a lab up, and saves it for others unless that was tried before."""
        state = setup(lab)
        if before is not None:
            return SetUp(state, None)
        try:
            return SetUp(state, lab.snapshot())
        except errors.SnapshotsUnsupported as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    pytest.PytestWarning(f"each test sets up a lab of its own: {error}"),
                    stacklevel=2,
                )
            return SetUp(state, None)

    def _forget(self, key: tuple[object, ...]) -> None:
        snapshot = self._saved.pop(key).snapshot
        if snapshot is not None:
            snapshot.drop()


class SetUp:
    """What a set-up left: what it returned, and the lab, where labs can be saved."""

    def __init__(self, state: Any, snapshot: Snapshot | None) -> None:
        self.state = state
        self.snapshot = snapshot


def _scope(wanted: Wanted, item: pytest.Item) -> pytest.Item | pytest.Collector:
    """Those who share a lab, or a set-up."""
    assert wanted.shared is not None
    # What is in no class or package shares with what is in the same file, or in all.
    return item.getparent(_SCOPES[wanted.shared]) or item.getparent(pytest.Module) or item.session


_LABS: pytest.StashKey[Labs] = pytest.StashKey()


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab of the test, whose machines have booted."""
    item: pytest.Item = request.node
    labs = request.config.stash[_LABS]
    wanted = Wanted(item)
    is_own = wanted.shared is None or wanted.setup is not None
    if wanted.setup is not None:
        made = labs.forked(wanted, item)
    elif is_own:
        made = labs.open(wanted, item.nodeid)
    else:
        made = labs.shared(wanted, item)
    labs.of_tests[item.nodeid] = made
    yield made
    labs.of_tests.pop(item.nodeid, None)
    labs.states.pop(item.nodeid, None)
    if is_own:
        made.close()


@pytest.fixture
def lab_state(request: pytest.FixtureRequest, lab: Lab) -> Any:
    """What the set-up of the test's lab returned; a copy of its own."""
    return copy.deepcopy(request.config.stash[_LABS].states.get(request.node.nodeid))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a fixture of each name that a test asks for and nobody knows: it may be a machine."""
    known: dict[str, Any] = metafunc._arg2fixturedefs
    unknown = [name for name in metafunc.fixturenames if name not in known and name != "request"]
    if not unknown or Wanted(metafunc.definition).manifest is None:
        return
    parent = metafunc.definition.parent
    assert parent is not None
    for name in unknown:
        _register(name, parent)


def _register(name: str, node: Any) -> None:
    """Makes the fixture of a machine for all tests in a file or class."""
    register: Any = getattr(pytest, "register_fixture", None)
    if register is not None:
        register(name=name, func=_machine_fixture(name), node=node)
        return
    # Before pytest 9.1, what plugins use is this.
    fixture = staticmethod(pytest.fixture(name=name)(_machine_fixture(name)))
    holder = type("Machines", (), {f"machine_{name}": fixture})
    manager: Any = node.session._fixturemanager
    manager.parsefactories(holder(), node.nodeid)


def _machine_fixture(name: str) -> Any:
    def machine(request: pytest.FixtureRequest) -> Machine:
        lab: Lab = request.getfixturevalue("lab")
        names = [pythonize_name(one) for one in lab.names]
        if name not in names:
            pytest.fail(
                f"there is no fixture `{name}`, and the lab has no machine of that name: its "
                f"machines are {', '.join(names) or 'none'}",
                pytrace=False,
            )
        return lab.machine(name)

    machine.__doc__ = f"The machine `{name}` of the lab."
    return machine


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Adds the consoles of the lab's machines to the report of a failure."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    lab = item.config.stash[_LABS].of_tests.get(item.nodeid)
    if lab is None or not report.failed:
        return
    for machine in lab:
        try:
            lines = machine.get_console_log().split("\n")
        except (errors.TestScriptError, errors.RpcError, ValueError):
            # A machine that has no console, or is gone: the failure itself says so.
            continue
        if lines != [""]:
            shown = "\n".join(lines[-TAIL:])
            more = f"(the last {TAIL} of {len(lines)} lines)\n" if len(lines) > TAIL else ""
            report.sections.append((f"console of {machine.name}", more + shown))
