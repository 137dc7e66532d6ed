//! Four servers that know nothing of each other. They are looked at all at once; the lab is in
//! `module-smoke/attest.toml`.

use attest::{Lab, Result};
use attest_suites::{is_silent, refuses, says};

#[attest::test(manifest = "module-smoke/attest.toml")]
async fn all_are_well(lab: &Lab) -> Result<()> {
    tokio::try_join!(web(lab), database(lab), cache(lab), proxy(lab)).map(drop)
}

/// A web server: what it serves, moves and refuses.
async fn web(lab: &Lab) -> Result<()> {
    let web = lab.machine("web")?;
    web.wait_for_unit("nginx").await?;
    web.wait_for_port(8080).await?;
    says(
        &web,
        "busybox wget -qO- http://127.0.0.1:8080/",
        &["welcome to the site"],
    )
    .await?;
    says(
        &web,
        r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["200 OK", "X-Served-By: suite", "welcome to the site"],
    )
    .await?;
    says(
        &web,
        r"printf 'GET /nowhere HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["404 Not Found", "no such page here"],
    )
    .await?;
    says(
        &web,
        r"printf 'GET /old HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &[
            "301 Moved Permanently",
            "Location: http://localhost:8080/index.html",
        ],
    )
    .await?;
    says(
        &web,
        r"printf 'GET /private/key HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["403 Forbidden", "X-Served-By: suite"],
    )
    .await?;
    says(
        &web,
        r"printf 'GET /health HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["200 OK", "Content-Type: text/plain", "healthy"],
    )
    .await?;
    says(
        &web,
        r"printf 'GET / HTTP/1.0\r\nRange: bytes=0-6\r\n\r\n' | nc -N 127.0.0.1 8080",
        &[
            "206 Partial Content",
            "Content-Range: bytes 0-6/20",
            "welcome",
        ],
    )
    .await?;
    says(
        &web,
        r"printf 'POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["405 Not Allowed"],
    )
    .await?;
    web.wait_until_succeeds(r#"grep '"POST / HTTP/1.0" 405' /var/log/nginx/access.log"#)
        .await?;
    says(
        &web,
        "nginx -t 2>&1",
        &["syntax is ok", "test is successful"],
    )
    .await?;
    is_silent(&web, "journalctl -u nginx -p err -b --no-pager -q").await
}

/// A database: how it is set up, who may come in, and what it keeps.
async fn database(lab: &Lab) -> Result<()> {
    let database = lab.machine("database")?;
    database.wait_for_unit("postgresql@15-main").await?;
    database.wait_for_port(5432).await?;
    says(
        &database,
        "/usr/lib/postgresql/15/bin/pg_isready",
        &["accepting connections"],
    )
    .await?;
    says(
        &database,
        "/usr/lib/postgresql/15/bin/psql -U postgres -Atc 'show work_mem'",
        &["6MB"],
    )
    .await?;
    says(
        &database,
        "/usr/lib/postgresql/15/bin/psql -U postgres -Atc 'show shared_buffers'",
        &["16MB"],
    )
    .await?;
    says(
        &database,
        "/usr/lib/postgresql/15/bin/psql -U postgres -c 'create role shop login' \
         -c 'create database shop owner shop'",
        &["CREATE ROLE", "CREATE DATABASE"],
    )
    .await?;
    says(
        &database,
        "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U shop \
         -c 'create table items (name text, price int check (price > 0))'",
        &["CREATE TABLE"],
    )
    .await?;
    says(
        &database,
        "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U shop \
         -c \"insert into items values ('pen', 3), ('book', 12)\"",
        &["INSERT 0 2"],
    )
    .await?;
    says(
        &database,
        "/usr/lib/postgresql/15/bin/psql -U shop -Atc 'select sum(price) from items'",
        &["15"],
    )
    .await?;
    refuses(
        &database,
        r#"/usr/lib/postgresql/15/bin/psql -U shop -c "insert into items values ('air', 0)" 2>&1"#,
        &["violates check constraint"],
    )
    .await?;
    refuses(
        &database,
        "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U stranger -Atc 'select 1' shop 2>&1",
        &["pg_hba.conf rejects connection"],
    )
    .await?;
    database
        .wait_until_succeeds("grep 'rejects connection' /var/log/postgresql/postgresql-15-main.log")
        .await?;
    is_silent(
        &database,
        "journalctl -u postgresql@15-main -p err -b --no-pager -q",
    )
    .await
}

/// A cache: how it is set up, who may write, and that it is on disk.
async fn cache(lab: &Lab) -> Result<()> {
    let cache = lab.machine("cache")?;
    cache.wait_for_unit("redis-server").await?;
    cache.wait_for_port(6379).await?;
    says(&cache, "redis-cli ping", &["PONG"]).await?;
    says(
        &cache,
        "redis-cli config get maxmemory-policy",
        &["allkeys-lru"],
    )
    .await?;
    says(&cache, "redis-cli config get maxmemory", &["8388608"]).await?;
    says(&cache, "redis-cli config get save", &["900 1"]).await?;
    says(&cache, "redis-cli set public:greeting hello", &["OK"]).await?;
    says(&cache, "redis-cli incrby visits 41", &["41"]).await?;
    says(
        &cache,
        "redis-cli --no-auth-warning --user reader --pass any get public:greeting",
        &["hello"],
    )
    .await?;
    says(
        &cache,
        "redis-cli --no-auth-warning --user reader --pass any set public:greeting bye",
        &["NOPERM"],
    )
    .await?;
    says(&cache, "redis-cli get public:greeting", &["hello"]).await?;
    says(
        &cache,
        "redis-cli info persistence",
        &["rdb_last_bgsave_status:ok", "aof_enabled:1"],
    )
    .await?;
    cache
        .wait_until_succeeds("grep visits /var/lib/redis/appendonlydir/appendonly.aof.1.incr.aof")
        .await?;
    is_silent(&cache, "journalctl -u redis-server -p err -b --no-pager -q").await
}

/// A proxy: what it answers itself, and what it says of who is not there.
async fn proxy(lab: &Lab) -> Result<()> {
    let proxy = lab.machine("proxy")?;
    proxy.wait_for_unit("haproxy").await?;
    proxy.wait_for_port(8080).await?;
    proxy
        .wait_for_unix_socket("/run/haproxy/admin.sock")
        .await?;
    says(
        &proxy,
        "haproxy -c -f /etc/haproxy/haproxy.cfg",
        &["Configuration file is valid"],
    )
    .await?;
    says(
        &proxy,
        "busybox wget -qO- http://127.0.0.1:8080/health",
        &["the proxy answers"],
    )
    .await?;
    says(
        &proxy,
        r"printf 'GET /health HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &[
            "200 OK",
            "content-type: text/plain",
            "x-proxy: suite",
            "the proxy answers",
        ],
    )
    .await?;
    says(
        &proxy,
        r"printf 'GET /moved HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["302 Found", "location: /health"],
    )
    .await?;
    says(
        &proxy,
        r"printf 'GET /admin/keys HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["403 Forbidden"],
    )
    .await?;
    says(
        &proxy,
        r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080",
        &["503 Service Unavailable", "sorry, nobody is there"],
    )
    .await?;
    says(
        &proxy,
        "echo 'show info' | nc -N -U /run/haproxy/admin.sock",
        &["Name: HAProxy"],
    )
    .await?;
    says(
        &proxy,
        "echo 'show stat' | nc -N -U /run/haproxy/admin.sock",
        &["site,FRONTEND", "nobody,gone", "nobody,BACKEND"],
    )
    .await?;
    says(
        &proxy,
        "echo 'disable server nobody/gone; show stat' | nc -N -U /run/haproxy/admin.sock",
        &["nobody,gone", "MAINT"],
    )
    .await?;
    is_silent(&proxy, "journalctl -u haproxy -p err -b --no-pager -q").await
}
