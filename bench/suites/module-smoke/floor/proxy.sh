# A proxy: what it answers itself, and what it says of who is not there. In the machine itself, as root.

until_succeeds "systemctl is-active --quiet haproxy"
until_succeeds "nc -z localhost 8080"
until_succeeds "nc -z -U /run/haproxy/admin.sock"
says "haproxy -c -f /etc/haproxy/haproxy.cfg" 'Configuration file is valid'
says "busybox wget -qO- http://127.0.0.1:8080/health" 'the proxy answers'
says "printf 'GET /health HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" \
    '200 OK*content-type: text/plain*x-proxy: suite*the proxy answers'
says "printf 'GET /moved HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" '302 Found*location: /health'
says "printf 'GET /admin/keys HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" '403 Forbidden'
says "printf 'GET / HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" '503 Service Unavailable*sorry, nobody is there'
says "echo 'show info' | nc -N -U /run/haproxy/admin.sock" 'Name: HAProxy'
says "echo 'show stat' | nc -N -U /run/haproxy/admin.sock" 'site,FRONTEND*nobody,gone*nobody,BACKEND'
says "echo 'disable server nobody/gone; show stat' | nc -N -U /run/haproxy/admin.sock" 'nobody,gone*MAINT'
test -z "$(journalctl -u haproxy -p err -b --no-pager -q)"
