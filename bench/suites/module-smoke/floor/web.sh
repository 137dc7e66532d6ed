# A web server: what it serves, moves and refuses. In the machine itself, as root.

until_succeeds "systemctl is-active --quiet nginx"
until_succeeds "nc -z localhost 8080"
says "busybox wget -qO- http://127.0.0.1:8080/" 'welcome to the site'
says "printf 'GET / HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" '200 OK*X-Served-By: suite*welcome to the site'
says "printf 'GET /nowhere HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" '404 Not Found*no such page here'
says "printf 'GET /old HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" \
    '301 Moved Permanently*Location: http://localhost:8080/index.html'
says "printf 'GET /private/key HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" '403 Forbidden*X-Served-By: suite'
says "printf 'GET /health HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 8080" '200 OK*Content-Type: text/plain*healthy'
says "printf 'GET / HTTP/1.0\r\nRange: bytes=0-6\r\n\r\n' | nc -N 127.0.0.1 8080" \
    '206 Partial Content*Content-Range: bytes 0-6/20*welcome'
says "printf 'POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n' | nc -N 127.0.0.1 8080" '405 Not Allowed'
until_succeeds "grep '\"POST / HTTP/1.0\" 405' /var/log/nginx/access.log"
says "nginx -t 2>&1" 'syntax is ok*test is successful'
test -z "$(journalctl -u nginx -p err -b --no-pager -q)"
