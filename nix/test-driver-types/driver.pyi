from attest.nixos import Driver as Driver
