"""A database with a replica, backups, and a user of its own."""
# needs: nixos
# machines: primary replica
import json
from datetime import timedelta
from typing import Any


def sql(target: Machine, statement: str, database: str = "postgres") -> str:
    quoted = statement.replace("'", "'\\''")
    return target.succeed(f"sudo -u postgres psql -d {database} -tAc '{quoted}'").strip()


def rows(target: Machine, statement: str) -> list[dict[str, Any]]:
    return json.loads(sql(target, f"SELECT coalesce(json_agg(x), '[]') FROM ({statement}) x"))


start_all()

with subtest("both come up"):
    for target in (primary, replica):
        target.wait_for_unit("postgresql.service")
        target.wait_for_open_port(5432, timeout=120)

with subtest("what is written on one is read on the other"):
    sql(primary, "CREATE TABLE things (id int, name text)")
    sql(primary, "INSERT INTO things VALUES (1, 'one'), (2, 'two')")
    retry(lambda _: len(rows(replica, "SELECT * FROM things")) == 2, timeout=timedelta(minutes=1))
    t.assertEqual(rows(replica, "SELECT name FROM things WHERE id = 1"), [{"name": "one"}])

with subtest("the replica refuses writes"):
    replica.fail("sudo -u postgres psql -c 'INSERT INTO things VALUES (3)'")

with subtest("failover"):
    primary.crash()
    replica.succeed("sudo -u postgres pg_ctl promote -D /var/lib/postgresql/16")
    replica.wait_until_succeeds(
        "sudo -u postgres psql -tAc 'SELECT pg_is_in_recovery()' | grep -x f", timeout=60
    )
    status, output = replica.execute("systemctl is-failed postgresql")
    assert status != 0, output

replica.copy_from_machine("/var/backup/postgresql", "backups")
assert (replica.out_dir / "backups" / "postgresql").is_dir()
