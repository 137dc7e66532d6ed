from attest.nixos import BaseMachine as BaseMachine
from attest.nixos import Machine as Machine
from attest.nixos import NspawnMachine as NspawnMachine
from attest.nixos import QemuMachine as QemuMachine
from attest.nixos import retry as retry
