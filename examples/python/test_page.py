"""The same for pytest: each machine of the nearest attest.toml is a fixture."""

import pytest


@pytest.mark.lab(shared="module")
def test_page(server, client):
    server.succeed("mkdir -p /www && echo hello > /www/index.html && httpd -h /www")
    server.wait_for_open_port(80)
    assert client.succeed("wget -qO- http://server/") == "hello\n"


@pytest.mark.lab(shared="module")
def test_names(lab):
    for machine in lab:
        assert machine.succeed("hostname").strip() == machine.name
