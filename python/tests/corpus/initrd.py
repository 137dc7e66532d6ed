"""From the first stage of the boot to the second."""
# needs: initrd

machine.wait_for_unit("initrd.target")
machine.switch_root()
machine.wait_for_unit("multi-user.target")
