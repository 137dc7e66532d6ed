from attest.nixos.polling import PollingCondition as PollingCondition
