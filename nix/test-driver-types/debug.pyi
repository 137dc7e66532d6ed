from attest.nixos.debug import Debug as Debug
from attest.nixos.debug import DebugNop as DebugNop

DebugAbstract = DebugNop
