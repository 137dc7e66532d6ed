//! Its start scripts and guests, from start to end.

use std::fs;
use std::path::PathBuf;

use attest_fixture::{Fixture, Node};

use super::{driver, left, output, place, sockets};
use crate::support::{Place, run};

/// A test of two machines on a VLAN, in each generation of invocation.
const TWO_MACHINES: &str = "\
start_all()
web.wait_for_file('/proc/version')
client.succeed('hostname | grep -x client')
with subtest('they meet'):
    client.wait_until_succeeds('ping -c1 192.168.1.1', timeout=60)
web.succeed('(while true; do nc -l -p 8080 -e echo hello || sleep 0.1; done) >/dev/null 2>&1 &')
web.wait_for_open_port(8080)
# The wait itself was a client, and each has a server of its own.
t.assertEqual(client.wait_until_succeeds('nc 192.168.1.1 8080', timeout=60), 'hello\\n')
status, text = client.execute('echo out; echo err >&2; exit 3')
t.assertEqual((status, text), (3, 'out\\n'))
client.wait_for_console_text('err')
client.copy_from_host(str(__import__('pathlib').Path('test.py').resolve()), '/tmp/test.py')
t.assertIn('start_all()', client.succeed('cat /tmp/test.py'))
client.copy_from_machine('/tmp/test.py', 'copied')
web.shutdown()
t.assertFalse(web.is_up())
client.crash()
";

/// The fixture's start scripts in this place; `None` where this host has no guest for them.
fn start_scripts(place: &Place) -> Option<Vec<String>> {
    let fixture = match Fixture::new() {
        Ok(fixture) => fixture,
        Err(error) => {
            eprintln!("skipped: {error}");
            return None;
        }
    };
    let nodes = [
        Node::new("web", 1).on(&[1]),
        Node::new("client", 2).on(&[1]),
    ];
    let scripts = fixture.write_all(&place.path(""), &nodes).unwrap();
    let scripts = scripts.iter().map(|path| path.display().to_string());
    Some(scripts.collect())
}

#[test]
fn two_machines_on_a_vlan_in_all_generations() {
    for generation in ["a", "b", "c"] {
        let place = place(TWO_MACHINES);
        let Some(scripts) = start_scripts(&place) else {
            return;
        };
        let mut command = driver(&place, &["-o", "out", "--junit-xml", "junit.xml"]);
        let test = place.path("test.py");
        match generation {
            "a" => {
                command.env("startScripts", scripts.join(" "));
                command.env("vlans", "1 1").env("testScript", &test);
                command.env("globalTimeout", "600");
                // Through the root shell alone, as guests without room for an agent have it.
                command.env("ATTEST_AGENT", "never");
            }
            "b" => {
                command.env("vmNames", "web client");
                command.env("vmStartScripts", scripts.join(" "));
                command.env("vlans", "1").env("testScript", &test);
            }
            _ => {
                let json = serde_json::json!({
                    "vms": {
                        "web": { "name": "web", "start_script": scripts[0] },
                        "client": { "name": "client", "start_script": scripts[1] },
                    },
                    "containers": {}, "vlans": [1], "global_timeout": 600,
                    "enable_ssh_backdoor": false, "test_script": test,
                });
                fs::write(place.path("config.json"), json.to_string()).unwrap();
                command.args(["-c", "config.json", "--log-level", "debug"]);
            }
        }
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(0), "{generation}: {}", ended.stderr);
        for part in [
            "web: QEMU running (pid ",
            "client: must succeed: hostname | grep -x client",
            "web: waiting for TCP port 8080 on localhost",
            "test script finished in ",
            "client # err",
        ] {
            assert!(
                ended.stderr.contains(part),
                "no `{part}` in {}",
                ended.stderr
            );
        }
        if generation == "c" {
            assert!(
                ended.stderr.contains("client: agent: attest's own"),
                "{}",
                ended.stderr
            );
        }
        assert!(output(&place, "junit.xml").contains("<testcase name=\"they meet\""));
        assert!(output(&place, "copied/test.py").contains("they meet"));
        assert_eq!(left(&place), Vec::<String>::new());
        assert_eq!(sockets(&place), Vec::<PathBuf>::new());
    }
}
