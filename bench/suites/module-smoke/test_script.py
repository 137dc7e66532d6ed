"""Four servers that know nothing of each other, one after the other."""


def has(said, parts, command):
    for part in parts:
        assert part in said, f"`{command}` says no {part!r}, but {said!r}"


def says(machine, command, *parts):
    has(machine.succeed(command), parts, command)


def refuses(machine, command, *parts):
    has(machine.fail(command), parts, command)


start_all()

with subtest("the web server is well"):
    web.wait_for_unit("nginx")
    web.wait_for_open_port(8080)
    says(web, "busybox wget -qO- http://127.0.0.1:8080/", "welcome to the site")
    says(
        web,
        r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "200 OK",
        "X-Served-By: suite",
        "welcome to the site",
    )
    says(
        web,
        r"printf 'GET /nowhere HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "404 Not Found",
        "no such page here",
    )
    says(
        web,
        r"printf 'GET /old HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "301 Moved Permanently",
        "Location: http://localhost:8080/index.html",
    )
    says(
        web,
        r"printf 'GET /private/key HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "403 Forbidden",
        "X-Served-By: suite",
    )
    says(
        web,
        r"printf 'GET /health HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "200 OK",
        "Content-Type: text/plain",
        "healthy",
    )
    says(
        web,
        r"printf 'GET / HTTP/1.0\r\nRange: bytes=0-6\r\n\r\n' | nc -N 127.0.0.1 8080",
        "206 Partial Content",
        "Content-Range: bytes 0-6/20",
        "welcome",
    )
    says(
        web,
        r"printf 'POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "405 Not Allowed",
    )
    web.wait_until_succeeds("grep '\"POST / HTTP/1.0\" 405' /var/log/nginx/access.log")
    says(web, "nginx -t 2>&1", "syntax is ok", "test is successful")
    assert web.succeed("journalctl -u nginx -p err -b --no-pager -q") == ""

with subtest("the database is well"):
    database.wait_for_unit("postgresql@15-main")
    database.wait_for_open_port(5432)
    says(database, "/usr/lib/postgresql/15/bin/pg_isready", "accepting connections")
    says(database, "/usr/lib/postgresql/15/bin/psql -U postgres -Atc 'show work_mem'", "6MB")
    says(database, "/usr/lib/postgresql/15/bin/psql -U postgres -Atc 'show shared_buffers'", "16MB")
    says(
        database,
        "/usr/lib/postgresql/15/bin/psql -U postgres -c 'create role shop login' "
        "-c 'create database shop owner shop'",
        "CREATE ROLE",
        "CREATE DATABASE",
    )
    says(
        database,
        "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U shop "
        "-c 'create table items (name text, price int check (price > 0))'",
        "CREATE TABLE",
    )
    says(
        database,
        "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U shop "
        "-c \"insert into items values ('pen', 3), ('book', 12)\"",
        "INSERT 0 2",
    )
    says(
        database,
        "/usr/lib/postgresql/15/bin/psql -U shop -Atc 'select sum(price) from items'",
        "15",
    )
    refuses(
        database,
        "/usr/lib/postgresql/15/bin/psql -U shop -c \"insert into items values ('air', 0)\" 2>&1",
        "violates check constraint",
    )
    refuses(
        database,
        "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U stranger -Atc 'select 1' shop 2>&1",
        "pg_hba.conf rejects connection",
    )
    database.wait_until_succeeds(
        "grep 'rejects connection' /var/log/postgresql/postgresql-15-main.log",
    )
    assert database.succeed("journalctl -u postgresql@15-main -p err -b --no-pager -q") == ""

with subtest("the cache is well"):
    cache.wait_for_unit("redis-server")
    cache.wait_for_open_port(6379)
    says(cache, "redis-cli ping", "PONG")
    says(cache, "redis-cli config get maxmemory-policy", "allkeys-lru")
    says(cache, "redis-cli config get maxmemory", "8388608")
    says(cache, "redis-cli config get save", "900 1")
    says(cache, "redis-cli set public:greeting hello", "OK")
    says(cache, "redis-cli incrby visits 41", "41")
    says(cache, "redis-cli --no-auth-warning --user reader --pass any get public:greeting", "hello")
    says(
        cache,
        "redis-cli --no-auth-warning --user reader --pass any set public:greeting bye",
        "NOPERM",
    )
    says(cache, "redis-cli get public:greeting", "hello")
    says(cache, "redis-cli info persistence", "rdb_last_bgsave_status:ok", "aof_enabled:1")
    cache.wait_until_succeeds("grep visits /var/lib/redis/appendonlydir/appendonly.aof.1.incr.aof")
    assert cache.succeed("journalctl -u redis-server -p err -b --no-pager -q") == ""

with subtest("the proxy is well"):
    proxy.wait_for_unit("haproxy")
    proxy.wait_for_open_port(8080)
    proxy.wait_for_open_unix_socket("/run/haproxy/admin.sock")
    says(proxy, "haproxy -c -f /etc/haproxy/haproxy.cfg", "Configuration file is valid")
    says(proxy, "busybox wget -qO- http://127.0.0.1:8080/health", "the proxy answers")
    says(
        proxy,
        r"printf 'GET /health HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "200 OK",
        "content-type: text/plain",
        "x-proxy: suite",
        "the proxy answers",
    )
    says(
        proxy,
        r"printf 'GET /moved HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "302 Found",
        "location: /health",
    )
    says(
        proxy,
        r"printf 'GET /admin/keys HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "403 Forbidden",
    )
    says(
        proxy,
        r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        "503 Service Unavailable",
        "sorry, nobody is there",
    )
    says(proxy, "echo 'show info' | nc -N -U /run/haproxy/admin.sock", "Name: HAProxy")
    says(
        proxy,
        "echo 'show stat' | nc -N -U /run/haproxy/admin.sock",
        "site,FRONTEND",
        "nobody,gone",
        "nobody,BACKEND",
    )
    says(
        proxy,
        "echo 'disable server nobody/gone; show stat' | nc -N -U /run/haproxy/admin.sock",
        "nobody,gone",
        "MAINT",
    )
    assert proxy.succeed("journalctl -u haproxy -p err -b --no-pager -q") == ""
