# The part of client2, without a driver: the machines tell each other how far they are.

listen

broker=mqtt://client2:two@server

seen() {
    test "$(grep -c "^$1 " /tmp/news)" = "$2"
}

# create
soon systemctl is-active --quiet multi-user.target
await users
mosquitto_pub -L $broker/news/create -m known
mosquitto_pub -L mqtt://guest:nobody@server/news/create -m known
tell server guest
await without-guest
over mosquitto_pub -L mqtt://guest:nobody@server/news/create -m gone
tell server guest-gone

# connect
await auditor
mosquitto_sub -L $broker/inbox/client2 -i client2-inbox -c -q 1 -v \
    > /tmp/inbox 2> /tmp/inbox.err &
inbox=$!
mosquitto_sub -L "$broker/news/#" -i client2-news -v > /tmp/news 2> /tmp/news.err &
mosquitto_sub -L "$broker/console/#" -i client2-console -v \
    > "$(ls /dev/ttyS0 2> /dev/null || echo /dev/console)" 2>&1 &
soon test -e /tmp/inbox
tell server client2-subscribes
await welcome
soon grep -qx 'inbox/client2 welcome, client2' /tmp/inbox
kill -0 $inbox
test ! -s /tmp/inbox.err

# exchange
await hello
soon grep -qx 'inbox/client2 hello from 1' /tmp/inbox
mosquitto_pub -L $broker/inbox/client1 -m 'hello from 2'
tell client1 answered
fails grep -q 'hello from 2' /tmp/inbox
await sport
soon grep -qx 'inbox/client2 exactly once' /tmp/inbox
grep -qx 'inbox/client2 at least once' /tmp/inbox
is "$(grep -c 'exactly once' /tmp/inbox)" 1
soon grep -qx 'news/sport/today 3 to 1' /tmp/news
mosquitto_pub -L $broker/news/weather -m rain
tell client1 weather
mosquitto_sub -L $broker/alarm/+/heat -i client2-alarm -C 1 > /tmp/alarm 2>&1 &
tell server alarm-wanted
await heat
soon grep -qx 80 /tmp/alarm
fails grep -qx 90 /tmp/alarm
await kept
is "$(mosquitto_sub -L $broker/exchange/kept -q 1 -C 1 -F '%t %q %r %p')" 'exchange/kept 1 1 second'
tell client1 kept-seen-by-client2
await cleared
is "$(mosquitto_sub -L "$broker/exchange/#" -C 1 -v)" 'exchange/other other'
await secret
mosquitto_pub -V 5 -L $broker/alarm/client1/heat -q 1 -m 99 2>&1 | grep 'Not authorized'
mosquitto_pub -V 5 -L mqtt://auditor:eyes@server/exchange/other -q 1 -m mine 2>&1 \
    | grep 'Not authorized'
is "$(mosquitto_sub -L 'mqtt://auditor:eyes@server/secret/#' -C 1)" hidden
tell server client2-refused
tell client1 client2-refused
await batch-sent
soon grep -qx 'news/batch 20' /tmp/news
seen news/batch 20

# rate-limit
tell server batch
await full
fails mosquitto_pub -L $broker/news/limit -m 5
over nc -z server 1883
tell server closed
await said
soon grep -qx 'news/limit still here' /tmp/news
is "$(grep -c '^news/limit [1-5]$' /tmp/news)" 3
tell server still-here
await lifted
soon nc -z server 1883
await large-sent
soon grep -qx 'news/limit 6' /tmp/news
soon grep -qx 'news/large 1' /tmp/news
tell server large
await small-sent
soon grep -qx 'news/small small' /tmp/news
seen news/large 1
tell server small
await large-again
soon seen news/large 2

# restart
mosquitto_pub -L $broker/restart/two -q 1 -r -m 'kept 2'
tell server two-kept
await stopped
kill -0 $inbox
tell server client2-saw-it-stop
await started
is "$(mosquitto_sub -L $broker/restart/one -C 1)" 'kept 1'

# reconnect
await back
soon grep -qx 'inbox/client2 back, 2?' /tmp/inbox
mosquitto_pub -L $broker/inbox/client1 -q 1 -m 'back, 1?'
tell client1 back-too
kill -KILL $inbox
tell server left
await missed
fails grep -q missed /tmp/inbox
mosquitto_sub -L $broker/inbox/client2 -i client2-inbox -c -q 1 -v \
    > /tmp/again 2> /tmp/again.err &
soon grep -qx 'inbox/client2 missed 2' /tmp/again
is "$(grep -c missed /tmp/again)" 2
tell server nothing-missed
await crashed
mosquitto_pub -L $broker/news/crash -m 'over it'
tell client1 over-it

# files
(mosquitto_sub -L $broker/files/report -i client2-report -C 1 -N \
    > /tmp/report.part && mv /tmp/report.part /tmp/report) > /dev/null 2>&1 &
tell server report-heard
await report
soon test -e /tmp/report
sha256sum /tmp/report
seq -f 'line %g of the report' 1 2000 | cmp - /tmp/report
base64 -w 0 /tmp/report > /dev/null
await noise
mosquitto_sub -L $broker/files/noise -C 1 -N > /tmp/noise
sha256sum /tmp/noise
head -c 32768 /usr/sbin/mosquitto | cmp - /tmp/noise
tell server client2-has-noise
seq 1 5000 > /tmp/numbers
await numbers-wanted
mosquitto_pub -L $broker/files/numbers -q 1 -f /tmp/numbers
tell client1 numbers

# Nobody goes before the others have seen all of it.
tell server client2-done
await end
