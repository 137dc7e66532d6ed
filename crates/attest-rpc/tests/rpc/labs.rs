//! Labs and machines, on containers of the built-in guest.

use std::collections::BTreeSet;

use attest_rpc::Served;
use serde_json::{Value, json};

use crate::client::Client;

/// A client with a lab of one container that is ready; `None` where this host runs none.
async fn with_lab() -> Option<(Client, tempfile::TempDir)> {
    let mut client = Client::new().await;
    let directory = open_lab(&mut client).await?;
    Some((client, directory))
}

async fn open_lab(client: &mut Client) -> Option<tempfile::TempDir> {
    let found = attest::doctor::examine();
    let nspawn = found.iter().find(|finding| finding.what == "nspawn");
    let nspawn = nspawn.expect("the doctor looks at it");
    if !nspawn.works {
        eprintln!("skipped: {}", nspawn.detail);
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("attest.toml");
    std::fs::write(&manifest, "[machines.m]\nbackend = \"nspawn\"\n").unwrap();
    let output = directory.path().join("out");
    let asked = json!({ "manifest": manifest, "output": output });
    let lab = client.call("lab.open", asked).await.unwrap().json;
    assert_eq!(lab["id"], 1);
    assert_eq!(lab["machines"][0]["name"], "m");
    assert_eq!(lab["machines"][0]["kind"], "nspawn");
    Some(directory)
}

fn of(mut params: Value) -> Value {
    params["machine"] = "m".into();
    params
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_have_bytes_both_ways() {
    let Some((mut client, _directory)) = with_lab().await else {
        return;
    };
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let asked = of(json!({ "command": "cat; echo no >&2; exit 3", "stdin": true }));
    let id = client.ask_with("machine.exec", asked, &bytes).await;
    let (answered, answer) = client.answer().await;
    assert_eq!(answered, id);
    let answer = answer.unwrap();
    assert_eq!(
        (&answer.json["code"], &answer.json["timed_out"]),
        (&3.into(), &false.into())
    );
    assert_eq!(answer.attachments, [bytes, b"no\n".to_vec()]);
    let asked = of(json!({ "argv": ["sleep", "1000"], "timeout": 0.2 }));
    let late = client.call("machine.exec", asked).await.unwrap().json;
    assert_eq!(
        (&late["code"], &late["timed_out"]),
        (&124.into(), &true.into())
    );
    for (wrong, words) in [
        (json!({ "command": "a\0b" }), "NUL at byte 1"),
        (json!({}), "give `command`"),
        (json!({ "command": "x", "stdin": true }), "one attachment"),
    ] {
        let error = client.call("machine.exec", of(wrong)).await.unwrap_err();
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error}"
        );
    }
    assert!(matches!(client.leave().await, Served::Left));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_run_side_by_side_and_are_given_up() {
    let Some((mut client, _directory)) = with_lab().await else {
        return;
    };
    let wait = of(json!({ "for": { "file": "/tmp/there" }, "timeout": null }));
    let waiting = client.ask("machine.wait", wait).await;
    let never = of(json!({ "for": { "file": "/tmp/never" }, "timeout": null }));
    let given_up = client.ask("machine.wait", never).await;
    let touch = of(json!({ "command": "touch /tmp/there" }));
    let touching = client.ask("machine.exec", touch).await;
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let (id, answer) = client.answer().await;
        answer.unwrap();
        seen.insert(id);
    }
    assert_eq!(seen, [waiting, touching].into());
    client.say("cancel", json!({ "id": given_up })).await;
    let (id, answer) = client.answer().await;
    assert_eq!(id, given_up);
    assert_eq!(answer.unwrap_err()["data"]["kind"], "cancelled");
    let late = of(json!({ "for": { "port": 9 }, "timeout": 0.1 }));
    let error = client.call("machine.wait", late).await.unwrap_err();
    assert_eq!(error["data"]["kind"], "timed-out");
    assert!(error["data"]["last_seen"].is_string(), "{error}");
    let wrong = of(json!({ "for": { "port": 9, "file": "/x" } }));
    let error = client.call("machine.wait", wrong).await.unwrap_err();
    assert_eq!(error["code"], -32602);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_not_saved() {
    let Some((mut client, _directory)) = with_lab().await else {
        return;
    };
    for (method, params) in [
        ("lab.snapshot", json!({})),
        ("lab.fork", json!({})),
        ("machine.snapshot", of(json!({}))),
    ] {
        let error = client.call(method, params).await.unwrap_err();
        assert_eq!(error["data"]["kind"], "unsupported", "{method}: {error}");
        assert_eq!(error["data"]["machine"], "m", "{method}: {error}");
    }
    for (method, params) in [
        ("lab.restore", json!({ "snapshot": 1 })),
        ("lab.fork", json!({ "snapshot": 1 })),
        ("machine.restore", of(json!({ "snapshot": 1 }))),
        ("snapshot.drop", json!({ "snapshot": 1 })),
    ] {
        let error = client.call(method, params).await.unwrap_err();
        assert_eq!(error["data"]["kind"], "usage", "{method}: {error}");
        assert_eq!(error["message"], "there is no snapshot 1 in this session");
    }
    // The lab is none the worse for it.
    let asked = of(json!({ "command": "true" }));
    let done = client.call("machine.exec", asked).await.unwrap();
    assert_eq!(done.json["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_nothing() {
    let Some((mut client, _directory)) = with_lab().await else {
        return;
    };
    let state = client
        .call("machine.state", of(json!({})))
        .await
        .unwrap()
        .json;
    let pid = state["pid"].as_u64().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    client
        .ask("machine.exec", of(json!({ "command": "sleep 1000" })))
        .await;
    assert!(matches!(client.leave().await, Served::Left));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn consoles_copies_and_life() {
    let Some((mut client, directory)) = with_lab().await else {
        return;
    };
    let said = of(json!({ "command": "echo on stderr >&2", "stderr": "console" }));
    client.call("machine.exec", said).await.unwrap();
    let wait = of(json!({ "for": { "console": "on stderr" }, "timeout": 30 }));
    let met = client.call("machine.wait", wait).await.unwrap().json;
    assert_eq!(met["matched"], "on stderr");
    let text = client
        .call("machine.console_text", of(json!({})))
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&text.attachments[0]).contains("on stderr\n"));

    let file = directory.path().join("file");
    std::fs::write(&file, "contents").unwrap();
    let up = of(json!({ "from": file, "to": "/tmp/f" }));
    assert_eq!(
        client.call("machine.upload", up).await.unwrap().json["bytes"],
        8
    );
    let down = of(json!({ "from": "/tmp/f", "to": directory.path().join("back") }));
    client.call("machine.download", down).await.unwrap();
    assert_eq!(
        std::fs::read(directory.path().join("back")).unwrap(),
        b"contents"
    );
    let relative = of(json!({ "from": "file", "to": "/tmp/f" }));
    let error = client.call("machine.upload", relative).await.unwrap_err();
    assert!(
        error["message"].as_str().unwrap().contains("absolute"),
        "{error}"
    );

    let first = client
        .call("machine.connect", of(json!({})))
        .await
        .unwrap()
        .json;
    assert_eq!(first["agent"], true);
    client.call("machine.reboot", of(json!({}))).await.unwrap();
    let after = of(json!({ "after": first["token"] }));
    let second = client.call("machine.connect", after).await.unwrap().json;
    assert_ne!(first["token"], second["token"]);

    let error = client
        .call("machine.monitor", of(json!({ "command": "info" })))
        .await
        .unwrap_err();
    assert_eq!(error["data"]["kind"], "unsupported", "{error}");
    client
        .call("machine.power_off", of(json!({})))
        .await
        .unwrap();
    let ended = client
        .call("machine.wait_ended", of(json!({})))
        .await
        .unwrap()
        .json;
    assert_eq!(ended["how"], "stopped");
    let error = client
        .call("machine.exec", of(json!({ "command": "true" })))
        .await
        .unwrap_err();
    assert_eq!(error["data"]["kind"], "machine");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_hears_of_events() {
    let (mut client, mut events) = Client::with_events().await;
    let Some(_directory) = open_lab(&mut client).await else {
        return;
    };
    let session = std::sync::Arc::clone(&client.session);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            session.publish(&event);
        }
    });
    client.call("events.subscribe", json!({})).await.unwrap();
    let asked = of(json!({ "command": "true" }));
    client.ask("machine.exec", asked).await;
    let heard = loop {
        let message = client.next().await.expect("an event");
        let event = &message.json["params"];
        if message.json["method"] == "event" && event["event"] == "operation-started" {
            break event.clone();
        }
    };
    assert_eq!(
        (&heard["machine"], &heard["subject"]),
        (&"m".into(), &"true".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_may_be_long_and_say_much() {
    let Some((mut client, _directory)) = with_lab().await else {
        return;
    };
    let word = "x".repeat(200_000);
    let asked = of(json!({ "command": format!("word={word}; echo ${{#word}}; cat; exit 3") }));
    let said = client.call("machine.exec", asked).await.unwrap();
    assert_eq!(said.json["code"], 3);
    assert_eq!(said.attachments[0], b"200000\n");
    let asked = of(json!({ "command": "head -c 100000000 /dev/zero" }));
    let said = client.call("machine.exec", asked).await.unwrap();
    assert_eq!(said.attachments[0].len(), 100_000_000);
    let asked = of(json!({ "for": { "succeeds": format!(": {word}") }, "timeout": 5 }));
    let error = client.call("machine.wait", asked).await.unwrap_err();
    assert_eq!(error["data"]["kind"], "usage");
    assert!(
        error["message"].as_str().unwrap().contains("too long"),
        "{error}"
    );
    client
        .call("machine.exec", of(json!({ "command": "true" })))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_has_not_is_refused_by_name() {
    let Some((mut client, _directory)) = with_lab().await else {
        return;
    };
    for (method, asked) in [
        ("machine.balloon", json!({ "bytes": 1 << 20 })),
        ("machine.balloon_statistics", json!({})),
    ] {
        let error = client.call(method, of(asked)).await.unwrap_err();
        assert_eq!(error["data"]["kind"], "unsupported", "{error}");
        assert_eq!(error["data"]["machine"], "m", "{error}");
        assert!(error.to_string().contains("balloon"), "{error}");
    }
}
