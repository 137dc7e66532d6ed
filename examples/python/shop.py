"""A shop that is brought up once. Each test gets the shop as `setup` left it, in any order."""

import attest


@attest.setup
def setup(server):
    server.succeed("mkdir -p /www && echo 3 > /www/stock && httpd -h /www")
    server.wait_for_open_port(80)
    return {"stock": 3}


def stock(client):
    return int(client.succeed("wget -qO- http://server/stock"))


def test_the_client_sees_the_stock(client, state):
    assert stock(client) == state["stock"]


def test_the_stock_sells_out(server, client):
    server.succeed("echo 0 > /www/stock")
    assert stock(client) == 0


def test_nobody_else_has_bought_anything(client, state):
    assert stock(client) == state["stock"]
