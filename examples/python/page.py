"""A page is served, and what is not there is not. Each machine is a variable."""

server.succeed("mkdir -p /www && echo hello > /www/index.html && httpd -h /www")
server.wait_for_open_port(80)

with subtest("the client sees it"):
    t.assertEqual(client.succeed("wget -qO- http://server/"), "hello\n")

with subtest("what is not there is not"):
    client.fail("wget -qO- http://server/nothing")

with subtest("both at once"):
    import threading

    def work(machine):
        for number in range(5):
            machine.succeed(f"test $(({number} + 1)) -gt {number}")

    threads = [threading.Thread(target=work, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
