"""Scripts are whole programs: classes, generators, comprehension, exec, closures over globals."""
import dataclasses
import functools
import json
import re


@dataclasses.dataclass
class Case:
    command: str
    expected: int = 0


@functools.lru_cache(maxsize=None)
def status(command: str) -> int:
    return machine.execute(command)[0]


cases = [Case("true"), Case("false", 1), Case("exit 7", 7)]
t.assertEqual([status(case.command) for case in cases], [case.expected for case in cases])
data = json.loads(machine.succeed("echo '{\"a\": [1, 2]}'"))
t.assertEqual(data["a"], [1, 2])
match = re.search(r"(\d+)", machine.succeed("echo abc 123"))
assert match is not None
t.assertEqual(match[1], "123")


def outer():
    def inner():
        return machine.succeed("echo nested").strip()

    return inner()


t.assertEqual(outer(), "nested")
exec("machine.succeed('true')")
t.assertEqual(eval("machine.name"), machine.name)
with subtest("a decorator"):

    @log.nested("decorated")
    def decorated() -> str:
        return machine.succeed("echo decorated")

    t.assertEqual(decorated(), "decorated\n")
