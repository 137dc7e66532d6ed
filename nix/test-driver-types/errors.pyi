from attest.errors import MachineError as MachineError
from attest.errors import RequestedAssertionFailed as RequestedAssertionFailed
