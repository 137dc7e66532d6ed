# A database: how it is set up, who may come in, and what it keeps. In the machine itself, as root.

until_succeeds "systemctl is-active --quiet postgresql@15-main"
until_succeeds "nc -z localhost 5432"
says "/usr/lib/postgresql/15/bin/pg_isready" 'accepting connections'
says "/usr/lib/postgresql/15/bin/psql -U postgres -Atc 'show work_mem'" '6MB'
says "/usr/lib/postgresql/15/bin/psql -U postgres -Atc 'show shared_buffers'" '16MB'
says "/usr/lib/postgresql/15/bin/psql -U postgres -c 'create role shop login' -c 'create database shop owner shop'" \
    'CREATE ROLE*CREATE DATABASE'
says "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U shop -c 'create table items (name text, price int check (price > 0))'" \
    'CREATE TABLE'
says "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U shop -c \"insert into items values ('pen', 3), ('book', 12)\"" \
    'INSERT 0 2'
says "/usr/lib/postgresql/15/bin/psql -U shop -Atc 'select sum(price) from items'" '15'
refuses "/usr/lib/postgresql/15/bin/psql -U shop -c \"insert into items values ('air', 0)\" 2>&1" \
    'violates check constraint'
refuses "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U stranger -Atc 'select 1' shop 2>&1" \
    'pg_hba.conf rejects connection'
until_succeeds "grep 'rejects connection' /var/log/postgresql/postgresql-15-main.log"
test -z "$(journalctl -u postgresql@15-main -p err -b --no-pager -q)"
