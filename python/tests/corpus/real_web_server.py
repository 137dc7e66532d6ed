"""A web server, its configuration reload, and its certificates."""
# needs: nixos
# machines: webserver

url = "http://localhost/index.html"


def check_etag():
    etag = webserver.succeed(f"curl -v {url} 2>&1 | sed -n -e 's/^< etag: *//ip'").rstrip()
    http_code = webserver.succeed(
        f"curl -w '%{{http_code}}' --head --fail -H 'If-None-Match: {etag}' {url}"
    )
    assert http_code.split("\n")[-1] == "304"
    return etag


def wait_for_new_code_on_port(port: int, code: int) -> None:
    def check(last_attempt: bool) -> bool:
        out = webserver.execute(f"curl -s -o /dev/null -w '%{{http_code}}' localhost:{port}")[1]
        if last_attempt:
            webserver.log(f"last seen status: {out}")
        return out.strip() == str(code)

    retry(check, timeout_seconds=30)


start_all()
webserver.wait_for_unit("nginx")
webserver.wait_for_open_port(80)

with subtest("check ETag if serving Nix store paths"):
    old_etag = check_etag()
    webserver.succeed("/run/current-system/specialisation/etag/bin/switch-to-configuration test")
    webserver.sleep(1)
    new_etag = check_etag()
    assert old_etag != new_etag

with subtest("nginx configuration is reloaded on switch"):
    webserver.succeed("systemctl reload nginx.service")
    webserver.wait_until_succeeds("journalctl -u nginx --since -30s | grep -q -i reload")
    wait_for_new_code_on_port(80, 200)

with subtest("the unit is not restarted"):
    info = webserver.get_unit_info("nginx.service")
    assert int(info["NRestarts"]) == 0
    webserver.require_unit_state("nginx.service")
