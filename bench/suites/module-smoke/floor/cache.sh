# A cache: how it is set up, who may write, and that it is on disk. In the machine itself, as root.

until_succeeds "systemctl is-active --quiet redis-server"
until_succeeds "nc -z localhost 6379"
says "redis-cli ping" 'PONG'
says "redis-cli config get maxmemory-policy" 'allkeys-lru'
says "redis-cli config get maxmemory" '8388608'
says "redis-cli config get save" '900 1'
says "redis-cli set public:greeting hello" 'OK'
says "redis-cli incrby visits 41" '41'
says "redis-cli --no-auth-warning --user reader --pass any get public:greeting" 'hello'
says "redis-cli --no-auth-warning --user reader --pass any set public:greeting bye" 'NOPERM'
says "redis-cli get public:greeting" 'hello'
says "redis-cli info persistence" 'rdb_last_bgsave_status:ok*aof_enabled:1'
until_succeeds "grep visits /var/lib/redis/appendonlydir/appendonly.aof.1.incr.aof"
test -z "$(journalctl -u redis-server -p err -b --no-pager -q)"
