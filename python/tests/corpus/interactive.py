"""Sessions by hand, with an input that ends."""
# stdin: echo from the shell\ncd /tmp\npwd\n

machine.shell_interact()
machine.shell_interact(address=None)
machine.console_interact()
