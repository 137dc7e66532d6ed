"""Copies, both ways."""
import tempfile
from pathlib import Path

here = Path(tempfile.mkdtemp())
(here / "file").write_text("content\n")
(here / "tree/sub").mkdir(parents=True)
(here / "tree/a").write_text("a\n")
(here / "tree/sub/b").write_bytes(bytes(range(256)))
(here / "tree/link").symlink_to("a")
machine.succeed("rm -rf /tmp/corpus; mkdir -p /tmp/corpus/directory")

with subtest("from the host"):
    machine.copy_from_host(str(here / "file"), "/tmp/corpus/new/place")
    t.assertEqual(machine.succeed("cat /tmp/corpus/new/place"), "content\n")
    machine.copy_from_host(source=str(here / "file"), target="/tmp/corpus/directory")
    machine.succeed("test -f /tmp/corpus/directory/file")
    machine.copy_from_host(str(here / "tree"), "/tmp/corpus/tree")
    t.assertEqual(machine.succeed("cat /tmp/corpus/tree/link"), "a\n")
    machine.copy_from_host(str(here / "tree"), "/tmp/corpus/directory/")
    machine.succeed("test -f /tmp/corpus/directory/tree/sub/b")
    with t.assertRaises(FileNotFoundError):
        machine.copy_from_host(str(here / "nothing"), "/tmp/corpus/nothing")

with subtest("from the host, through the shell"):
    machine.copy_from_host_via_shell(str(here / "file"), "/tmp/corpus/shell/file")
    machine.copy_from_host_via_shell(source=str(here / "file"), target="/tmp/corpus/$(echo x)")
    t.assertEqual(machine.succeed("cat /tmp/corpus/x"), "content\n")

with subtest("to the results"):
    machine.copy_from_machine("/tmp/corpus/tree")
    t.assertEqual((machine.out_dir / "tree/sub/b").read_bytes(), bytes(range(256)))
    machine.copy_from_machine(source="/tmp/corpus/new/place", target_dir="down/below")
    t.assertEqual((machine.out_dir / "down/below/place").read_text(), "content\n")
    machine.copy_from_vm("/tmp/corpus/x", "old")
    machine.copy_from_vm(source="/tmp/corpus/x", target_dir="older")
    t.assertEqual((machine.out_dir / "old/x").read_text(), "content\n")
    with t.assertRaises(Exception):
        machine.copy_from_machine("/tmp/corpus/not-there")

with subtest("shared directory"):
    (machine.shared_dir / "note").write_text("shared\n")
    if os.environ.get("CORPUS_SHARED", "1") == "1":
        t.assertEqual(machine.succeed("cat /tmp/shared/note"), "shared\n")
