"""Containers of systemd-nspawn."""

from __future__ import annotations

from .base import BaseMachine

# A command of a container starts without an environment; a profile may use unset variables.
_PROFILE = "set +u; if [ -e /etc/profile ]; then . /etc/profile; fi; set -u; "


class NspawnMachine(BaseMachine):
    """A container."""

    _what = "container"

    def _prepare(self, command: str) -> str:
        return _PROFILE + command

    @property
    def start_command(self) -> str | None:
        """What starts it."""
        command = self._described.get("start_command")
        return command if isinstance(command, str) else None

    def ssh_backdoor_command(self, index: int) -> str:
        """The command that opens a root shell in the container."""
        del index
        socket = f"/run/systemd/nspawn/unix-export/{self.name}/ssh"
        return f'ssh -o User=root -o ProxyCommand="socat - UNIX-CLIENT:{socket}" bash'
