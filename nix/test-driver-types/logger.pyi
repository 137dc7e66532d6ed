from attest.nixos import Logger as Logger
from attest.nixos import LogLevel as LogLevel

AbstractLogger = Logger
CompositeLogger = Logger
