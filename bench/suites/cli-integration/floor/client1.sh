# The part of client1, without a driver: the machines tell each other how far they are.

listen

broker=mqtt://client1:one@server

too_large() {
    mosquitto_pub -V 5 -L $broker/exchange/large -q 1 -f /tmp/large 2>&1 | grep 'Packet too large'
}

# create
soon systemctl is-active --quiet multi-user.target
await local
fails mosquitto_pub -h server -t create/remote -m here
tell server refused-before-users
await users
soon nc -z server 1883
fails mosquitto_pub -h server -t news/create -m anonymous
fails mosquitto_pub -L mqtt://client1:two@server/news/create -m mistaken
mosquitto_pub -L $broker/news/create -m known
fails mosquitto_pub -L mqtt://auditor:eyes@server/news/create -m early
tell server early
await auditor
soon mosquitto_pub -L mqtt://auditor:eyes@server/news/create -m new
tell server auditor-known

# connect
mosquitto_sub -L $broker/inbox/client1 -i client1-inbox -c -q 1 -v \
    > /tmp/inbox 2> /tmp/inbox.err &
inbox=$!
mosquitto_sub -L "$broker/news/#" -i client1-news -v > /tmp/news 2> /tmp/news.err &
tell server client1-subscribes
await welcome
soon grep -qx 'inbox/client1 welcome, client1' /tmp/inbox
kill -0 $inbox
test ! -s /tmp/inbox.err

# exchange
mosquitto_pub -L $broker/inbox/client2 -m 'hello from 1'
tell client2 hello
await answered
soon grep -qx 'inbox/client1 hello from 2' /tmp/inbox
fails grep -q 'hello from 1' /tmp/inbox
mosquitto_pub -L $broker/inbox/client2 -q 1 -m 'at least once'
mosquitto_pub -L $broker/inbox/client2 -q 2 -m 'exactly once'
mosquitto_pub -L $broker/news/sport/today -m '3 to 1'
tell client2 sport
await weather
soon grep -qx 'news/weather rain' /tmp/news
grep -qx 'news/sport/today 3 to 1' /tmp/news
await alarm-heard
mosquitto_pub -L $broker/alarm/client1/smoke -m 90
mosquitto_pub -L $broker/alarm/client1/heat -m 80
tell client2 heat
mosquitto_pub -L $broker/exchange/kept -q 1 -r -m first
mosquitto_pub -L $broker/exchange/kept -q 1 -r -m second
tell server kept
tell client2 kept
await kept-seen-by-server kept-seen-by-client2
mosquitto_pub -L $broker/exchange/kept -q 1 -r -n
mosquitto_pub -L $broker/exchange/other -q 1 -r -m other
tell client2 cleared
await secret
mosquitto_pub -V 5 -L $broker/secret/plan -q 1 -r -m changed 2>&1 | grep 'Not authorized'
is "$(mosquitto_sub -L "$broker/secret/#" -t exchange/other -C 1)" other
tell server client1-refused
tell client2 client1-refused
await client2-refused
seq 1 20 | mosquitto_pub -L $broker/news/batch -q 1 -l
tell client2 batch-sent

# rate-limit
await limited
mosquitto_pub -L $broker/news/limit -m 1
mosquitto_pub -L $broker/news/limit -m 2
mosquitto_pub -L $broker/news/limit -m 3
fails mosquitto_pub -L $broker/news/limit -m 4
tell client2 full
await lifted
mosquitto_pub -L $broker/news/limit -m 6
seq 1 600 > /tmp/large
mosquitto_pub -L $broker/news/large -q 1 -f /tmp/large
tell client2 large-sent
await sizes-limited
soon too_large
mosquitto_pub -L $broker/news/large -q 1 -f /tmp/large
mosquitto_pub -L $broker/news/small -q 1 -m small
tell client2 small-sent
await sizes-lifted
over too_large
mosquitto_pub -L $broker/news/large -q 1 -f /tmp/large
tell client2 large-again

# restart
mosquitto_pub -L $broker/restart/one -q 1 -r -m 'kept 1'
tell server one-kept
await stopped
over nc -z server 1883
fails mosquitto_pub -L $broker/restart/one -m lost
kill -0 $inbox
tell server client1-saw-it-stop
await started
is "$(mosquitto_sub -L $broker/restart/two -C 1)" 'kept 2'

# reconnect
await reconnected
mosquitto_pub -L $broker/inbox/client2 -q 1 -m 'back, 2?'
tell client2 back
await back-too
soon grep -qx 'inbox/client1 back, 1?' /tmp/inbox
await client2-gone
mosquitto_pub -L $broker/inbox/client2 -q 1 -m 'missed 1'
mosquitto_pub -L $broker/inbox/client2 -q 1 -m 'missed 2'
tell client2 missed
await over-it
soon grep -qx 'news/crash over it' /tmp/news

# files
seq -f 'line %g of the report' 1 2000 > /tmp/report
await report-wanted
mosquitto_pub -L $broker/files/report -q 1 -f /tmp/report
tell server report
tell client2 report
sha256sum /tmp/report
await noise
mosquitto_sub -L $broker/files/noise -C 1 -N > /tmp/noise
sha256sum /tmp/noise
head -c 32768 /usr/sbin/mosquitto | cmp - /tmp/noise
base64 -w 0 /tmp/noise > /dev/null
tell server client1-has-noise
(mosquitto_sub -L $broker/files/numbers -i client1-numbers -C 1 -N \
    > /tmp/numbers.part && mv /tmp/numbers.part /tmp/numbers) > /dev/null 2>&1 &
tell server numbers-heard
await numbers
soon test -e /tmp/numbers
seq 1 5000 | cmp - /tmp/numbers
base64 -w 0 /tmp/numbers > /dev/null

# Nobody goes before the others have seen all of it.
tell server client1-done
await end
