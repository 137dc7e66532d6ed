//! What can be said on the wire, and what cannot.

use attest_rpc::Served;
use serde_json::json;

use crate::client::Client;

#[tokio::test]
async fn strangers_are_asked_for_a_hello() {
    let mut client = Client::stranger();
    let error = client
        .call("session.describe", json!({}))
        .await
        .unwrap_err();
    assert_eq!(error["code"], -32600);
    let error = client
        .call("hello", json!({ "generation": 0 }))
        .await
        .unwrap_err();
    assert_eq!(error["code"], -32602);
    let hello = client
        .call("hello", json!({ "generation": 1 }))
        .await
        .unwrap();
    assert_eq!(hello.json["generation"], 1);
    let described = client.call("session.describe", json!({})).await.unwrap();
    assert_eq!(described.json["surface"], "none");
    assert!(matches!(client.leave().await, Served::Left));
}

#[tokio::test]
async fn errors_name_the_method_and_the_member() {
    let mut client = Client::new().await;
    for (method, params, code, words) in [
        ("machine.fly", json!({}), -32601, "no method `machine.fly`"),
        (
            "machine.start",
            json!({}),
            -32602,
            "`machine` has to be the name",
        ),
        (
            "machine.start",
            json!({ "machine": "a", "lab": "x" }),
            -32602,
            "`lab` has to be the number",
        ),
        (
            "machine.start",
            json!({ "machine": "a" }),
            -32000,
            "no lab 1",
        ),
        (
            "lab.start",
            json!({ "lba": 1 }),
            -32602,
            "unknown field `lba`",
        ),
        (
            "lab.open",
            json!({ "manifest": "/no/manifest" }),
            -32000,
            "/no/manifest",
        ),
    ] {
        let error = client.call(method, params).await.unwrap_err();
        assert_eq!(error["code"], code, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_and_the_end() {
    for garbage in [
        &b"{\"jsonrpc\": \n"[..],
        b"[]\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"attachments\":[99999999999]}\n",
    ] {
        let mut client = Client::new().await;
        client.send(garbage).await;
        let said = client.next().await.unwrap();
        assert_eq!(said.json["id"], json!(null));
        assert_eq!(said.json["error"]["code"], -32700);
        assert!(client.next().await.is_none());
        assert!(matches!(client.leave().await, Served::Unreadable(_)));
    }
}

#[tokio::test]
async fn notifications_that_nobody_knows_end_nothing() {
    let mut client = Client::new().await;
    client.say("log.shout", json!({})).await;
    client.say("log.line", json!({ "message": 5 })).await;
    client.say("log.end", json!({ "id": 77 })).await;
    client.say("cancel", json!({ "id": 77 })).await;
    client.call("session.describe", json!({})).await.unwrap();
}

#[tokio::test]
async fn a_script_tells_its_end() {
    let mut client = Client::new().await;
    assert_eq!(client.session.script_end(), None);
    let end = json!({ "outcome": "assertion", "code": 1, "message": "1 != 2", "traceback": [] });
    client.call("script.ended", end).await.unwrap();
    let told = client.session.script_ended().await;
    assert_eq!((told.code, told.message.as_deref()), (1, Some("1 != 2")));
}
