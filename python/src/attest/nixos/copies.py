"""Files between the host and machines."""

from __future__ import annotations

import os

from .._values import quote, text
from ..errors import RequestedAssertionFailed
from .mixin import Mixin


class CopiesMixin(Mixin):
    """Copies of files and trees, both ways."""

    def copy_from_host(self, source: str, target: str) -> None:
        """Copies a file or a tree of the host to ``target``, with its access rights.

        A target that is a directory gets the source as a member; directories above the target are
        made. Symbolic links are followed, as they often lead to files that the machine lacks.

        Raises FileNotFoundError when there is no source, MachineError when the copy fails.
        """
        source, target = _path(source), _path(target)
        if not os.path.exists(source):
            raise FileNotFoundError(2, "there is no such file on the host", source)
        name = os.path.basename(os.path.normpath(source))
        parent = os.path.dirname(target) or "."
        word = quote(target)
        status, _ = self.execute(
            f"mkdir -p {quote(parent)} && if [ -d {word} ]; then exit 3; fi",
        )
        if status == 3:
            target = os.path.join(target, name)
        elif status != 0:
            raise RequestedAssertionFailed(
                f"the directory {parent} cannot be made (exit code {status})"
            )
        self._upload(os.path.realpath(source), target)

    def _upload(self, source: str, target: str) -> None:
        if not _has_links(source):
            self._call("machine.upload", {"from": source, "to": target})
            return
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            copy = os.path.join(directory, "copy")
            shutil.copytree(source, copy)
            self._call("machine.upload", {"from": copy, "to": target})

    def copy_from_host_via_shell(self, source: str, target: str) -> None:
        """Copies a file of the host to ``target``, which the machine's shell expands.

        Raises OSError when the source cannot be read, RequestedAssertionFailed when the copy fails.
        """
        source, target = _path(source), _path(target)
        with open(source, "rb") as file:
            content = file.read()
        command = f'mkdir -p "$(dirname {target})" && cat > {target}'
        self.connect()
        params = {
            "command": self._prepare(command),
            "timeout": None,
            "stderr": "console",
            "stdin": True,
        }
        reply = self._call("machine.exec", params, [content])
        status = int(reply.get("code"))
        if status != 0:
            raise RequestedAssertionFailed(f"command `{command}` failed (exit code {status})")

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """Copies a file or a tree to the results of the test, below ``target_dir`` there.

        Raises FileExistsError when a tree of that name is there already, MachineError when the
        copy fails, RequestedAssertionFailed when there is no source.
        """
        source, target_dir = _path(source), _path(target_dir)
        name = os.path.basename(os.path.normpath(source))
        target = os.path.join(self._surroundings.output, target_dir, name)
        # A link is followed: its target may not exist on the host, or be another file there.
        # busybox has no `readlink -e`.
        found = f"test -e {quote(source)} && readlink -f -- {quote(source)}"
        real = self.succeed(found).rstrip("\n")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(target):
            raise FileExistsError(17, "the results have a directory of this name", target)
        self._call("machine.download", {"from": real, "to": target})

    def copy_from_vm(self, source: str, target_dir: str = "") -> None:
        """The old name of `copy_from_machine`."""
        import warnings

        warnings.warn("Use copy_from_machine() instead", DeprecationWarning, stacklevel=2)
        self.copy_from_machine(source, target_dir)


def _path(value: object) -> str:
    """A path, also when a script hands in a `pathlib.Path`."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return text(value, "a path")


def _has_links(source: str) -> bool:
    """Whether a tree holds symbolic links."""
    for directory, directories, files in os.walk(source):
        for name in directories + files:
            if os.path.islink(os.path.join(directory, name)):
                return True
    return False
