from attest.nixos import VLan as VLan
