# The server's part, without a driver: the machines tell each other how far they are.

listen

log=/var/log/mosquitto/mosquitto.log
broker=mqtt://admin:root@localhost

logged() {
    test "$(grep -Ec "$1" "$log")" -ge "$2"
}

# create
soon systemctl is-active --quiet mosquitto.service
soon nc -z localhost 1883
mosquitto_pub -t create/local -m here
tell client1 local
await refused-before-users
mosquitto_passwd -c -b /etc/mosquitto/passwd admin root
mosquitto_passwd -b /etc/mosquitto/passwd client1 one
mosquitto_passwd -b /etc/mosquitto/passwd client2 two
mosquitto_passwd -b /etc/mosquitto/passwd guest nobody
chown mosquitto /etc/mosquitto/passwd
is "$(grep -c : /etc/mosquitto/passwd)" 4
fails grep -q ':one$' /etc/mosquitto/passwd
install -o mosquitto -m 0600 /etc/broker/acl /etc/mosquitto/acl
cp /etc/broker/broker.conf /etc/mosquitto/conf.d/broker.conf
systemctl restart mosquitto
soon systemctl is-active --quiet mosquitto.service
soon nc -z localhost 1883
tell client1 users
tell client2 users
await guest
mosquitto_passwd -D /etc/mosquitto/passwd guest
systemctl reload mosquitto
tell client2 without-guest
await guest-gone early
mosquitto_passwd -b /etc/mosquitto/passwd auditor eyes
systemctl reload mosquitto
tell client1 auditor
tell client2 auditor
await auditor-known
is "$(grep -c 'Reloading config' "$log")" 2

# connect
await client1-subscribes client2-subscribes
soon logged 'Sending SUBACK to client[12]-' 5
is "$(ss -Htn state established 'sport = :1883' | wc -l)" 5
mosquitto_pub -L $broker/inbox/client1 -q 1 -m 'welcome, client1'
mosquitto_pub -L $broker/inbox/client2 -q 1 -m 'welcome, client2'
mosquitto_pub -L $broker/console/client2 -m 'all are connected'
tell client1 welcome
tell client2 welcome

# exchange
await alarm-wanted
soon logged 'Sending SUBACK to client2-alarm$' 1
tell client1 alarm-heard
await kept
is "$(mosquitto_sub -L $broker/exchange/kept -C 1)" second
tell client1 kept-seen-by-server
mosquitto_pub -L $broker/secret/plan -q 1 -r -m hidden
tell client1 secret
tell client2 secret
await client1-refused client2-refused
grep -q "Denied PUBLISH.*'secret/plan'" "$log"
mosquitto_pub -L $broker/secret/plan -q 1 -r -n
mosquitto_pub -L $broker/console/client2 -m 'enough said'

# rate-limit
await batch
nft -c -f /etc/broker/limit.nft
nft -f /etc/broker/limit.nft
tell client1 limited
await closed
nft list chain inet doors input | grep 'counter packets [1-9]'
mosquitto_pub -L $broker/news/limit -m 'still here'
tell client2 said
await still-here
nft delete table inet doors
fails nft list table inet doors
tell client1 lifted
tell client2 lifted
await large
cp /etc/broker/limits.conf /etc/mosquitto/conf.d/limits.conf
systemctl reload mosquitto
tell client1 sizes-limited
await small
grep -q "Dropped too large PUBLISH.*'news/large'" "$log"
rm /etc/mosquitto/conf.d/limits.conf
systemctl reload mosquitto
tell client1 sizes-lifted

# restart
await one-kept two-kept
systemctl stop mosquitto
over nc -z localhost 1883
fails systemctl is-active --quiet mosquitto
soon test -e /var/lib/mosquitto/mosquitto.db
grep -q 'kept 1' /var/lib/mosquitto/mosquitto.db
tell client1 stopped
tell client2 stopped
await client1-saw-it-stop client2-saw-it-stop
systemctl start mosquitto
soon systemctl is-active --quiet mosquitto.service
soon nc -z localhost 1883
tell client1 started
tell client2 started

# reconnect
soon logged 'Sending SUBACK to client[12]-(inbox|news)$' 8
tell client1 reconnected
await left
soon logged 'Client client2-inbox (closed|disconnected)' 1
tell client1 client2-gone
await nothing-missed
systemctl kill --signal KILL mosquitto
until systemctl show -P NRestarts mosquitto | grep -x 1; do sleep 0.05; done
soon systemctl is-active --quiet mosquitto.service
soon nc -z localhost 1883
soon logged 'Sending SUBACK to client1-news$' 3
tell client2 crashed

# files
(mosquitto_sub -L $broker/files/report -i server-report -C 1 -N \
    > /tmp/report.part && mv /tmp/report.part /tmp/report) > /dev/null 2>&1 &
await report-heard
soon logged 'Sending SUBACK to .*-report$' 2
tell client1 report-wanted
await report
soon test -e /tmp/report
sha256sum /tmp/report
seq -f 'line %g of the report' 1 2000 | cmp - /tmp/report
base64 -w 0 /tmp/report > /dev/null
head -c 32768 /usr/sbin/mosquitto > /tmp/noise
mosquitto_pub -L $broker/files/noise -q 1 -r -f /tmp/noise
tell client1 noise
tell client2 noise
sha256sum /tmp/noise
await client1-has-noise client2-has-noise
mosquitto_pub -L $broker/files/noise -q 1 -r -n
await numbers-heard
soon logged 'Sending SUBACK to client1-numbers$' 1
tell client2 numbers-wanted

# Nobody goes before the others have seen all of it.
await client1-done client2-done
tell client1 end
tell client2 end
