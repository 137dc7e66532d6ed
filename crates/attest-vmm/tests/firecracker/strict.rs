//! The fake is as strict as what it stands for: its answers are those of a Firecracker 1.17, which is asked the same where
//! there is one.

use std::path::Path;

use attest_lab::ProcessExit;
use serde_json::{Value, json};

use crate::alone::Alone;
use crate::common::raw::Raw;

/// Call after call; each answer begins so, and has this in it.
async fn each(raw: &mut Raw, calls: &[(&str, Value, u16, &str)]) {
    for (what, body, status, words) in calls {
        let (answered, text) = raw.call(what, body.clone()).await;
        assert_eq!(answered, *status, "{what} {body}: {text}");
        assert!(text.contains(words), "{what} {body}: {text}");
    }
}

const JSON: &str = "An error occurred when deserializing the json body of a request: ";

#[tokio::test]
async fn calls_that_are_none() {
    for alone in Alone::each().await {
        let mut raw = alone.connect().await;
        let unknown = format!("{JSON}unknown field `x`");
        let missing = format!("{JSON}missing field `mem_size_mib`");
        let variant = format!("{JSON}unknown variant `Stopped`");
        let size = json!({ "vcpu_count": 1, "mem_size_mib": 64, "x": 1 });
        let drive = json!({ "drive_id": "disk1", "path_on_host": "k", "is_root_device": false });
        let card = json!({ "iface_id": "c", "host_dev_name": "t", "guest_mac": "zz" });
        each(
            &mut raw,
            &[
                ("GET /", Value::Null, 200, r#""state":"Not started""#),
                (
                    "GET /nothing",
                    Value::Null,
                    400,
                    "Invalid request method and/or path: GET nothing.",
                ),
                ("GET /", json!({}), 400, "GET request cannot have a body."),
                (
                    "PUT /machine-config",
                    Value::Null,
                    400,
                    "Empty PUT request.",
                ),
                ("PATCH /vm", Value::Null, 400, "Empty PATCH request."),
                (
                    "PUT /vm",
                    json!({}),
                    400,
                    "Invalid request method and/or path: PUT vm.",
                ),
                (
                    "PUT /snapshot/nope",
                    json!({}),
                    400,
                    "path: PUT /snapshot/nope.",
                ),
                ("PUT /machine-config", size, 400, &unknown),
                (
                    "PUT /machine-config",
                    json!({ "vcpu_count": 1 }),
                    400,
                    &missing,
                ),
                (
                    "PUT /machine-config",
                    json!("{nonsense"),
                    400,
                    "key must be a string",
                ),
                ("PATCH /vm", json!({ "state": "Stopped" }), 400, &variant),
                ("PUT /entropy", json!({ "x": 1 }), 400, &unknown),
                (
                    "PUT /drives/disk-0",
                    drive.clone(),
                    400,
                    "alphanumeric characters and underscores",
                ),
                (
                    "PUT /drives/disk0",
                    drive,
                    400,
                    "The id from the path does not match",
                ),
                (
                    "PUT /network-interfaces/c",
                    card,
                    400,
                    "The provided MAC address is invalid.",
                ),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn what_no_api_of_json_says() {
    for alone in Alone::each().await {
        let mut raw = alone.connect().await;
        let dropped = "\nAll previous unanswered requests will be dropped.\" }";
        for (head, words) in [
            (
                "OPTIONS / HTTP/1.1",
                "Invalid HTTP Method: Unsupported HTTP method.",
            ),
            (
                "GET / HTTP/2.0",
                "Invalid HTTP Version: Unsupported HTTP version.",
            ),
            ("nonsense", "Invalid request."),
        ] {
            raw.send(&format!("{head}\r\n\r\n")).await;
            let expected = format!("{{ \"error\": \"{words}{dropped}");
            assert_eq!(raw.answer().await, (400, expected));
        }
        // It goes on with the next one.
        assert_eq!(raw.call("GET /", Value::Null).await.0, 200);
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_taken_for_requests() {
    for alone in Alone::each().await {
        let mut raw = alone.connect().await;
        let exactly = Value::String(" ".repeat(51200));
        let (_, text) = raw.call("PUT /entropy", exactly).await;
        assert!(text.contains("EOF while parsing a value"), "{text}");
        let longer = Value::String(format!("{}\r\n\r\n", " ".repeat(51200)));
        let (_, text) = raw.call("PUT /entropy", longer).await;
        assert!(
            text.contains("payload with size 51204 is larger than the limit of 51200"),
            "{text}"
        );
        // Nobody has asked for this.
        assert_eq!(raw.answer().await.0, 400);
        let mut anew = alone.connect().await;
        assert_eq!(anew.call("GET /", Value::Null).await.0, 200);
    }
}

#[tokio::test]
async fn few_clients_are_served() {
    for alone in Alone::each().await {
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = alone.connect().await;
            assert_eq!(client.call("GET /", Value::Null).await.0, 200);
            clients.push(client);
        }
        let mut last = alone.connect().await;
        let answer = (
            503,
            r#"{ "error": "Too many open connections" }"#.to_owned(),
        );
        assert_eq!(last.answer().await, answer);
        assert_eq!(last.rest().await, "");
    }
}

#[tokio::test]
async fn each_state_allows_its_own_calls() {
    for alone in Alone::each().await {
        let mut raw = alone.connect().await;
        let state = |state: &str| json!({ "state": state });
        let create = json!({ "snapshot_path": "s", "mem_file_path": "m" });
        let backend = json!({ "backend_type": "File", "backend_path": "m" });
        let load = json!({ "snapshot_path": "s", "mem_backend": backend });
        let start = json!({ "action_type": "InstanceStart" });
        let size = json!({ "vcpu_count": 1, "mem_size_mib": 2 });
        let drive = json!({ "drive_id": "d", "path_on_host": "k", "is_root_device": false });
        let before = "The requested operation is not supported before starting the microVM.";
        let after = "The requested operation is not supported after starting the microVM.";
        let unordered =
            "Loading a microVM snapshot not allowed after configuring boot-specific resources.";
        each(
            &mut raw,
            &[
                ("PATCH /vm", state("Paused"), 400, before),
                ("PATCH /balloon", json!({ "amount_mib": 1 }), 400, before),
                ("GET /balloon/statistics", Value::Null, 400, before),
                ("PUT /snapshot/create", create.clone(), 400, before),
                (
                    "PUT /actions",
                    start.clone(),
                    400,
                    "Cannot start microvm without kernel configuration.",
                ),
                ("PUT /machine-config", size.clone(), 204, ""),
                ("PUT /snapshot/load", load.clone(), 400, unordered),
                (
                    "PUT /boot-source",
                    json!({ "kernel_image_path": "n" }),
                    400,
                    "kernel file cannot be opened",
                ),
                (
                    "PUT /boot-source",
                    json!({ "kernel_image_path": "k" }),
                    204,
                    "",
                ),
                ("PUT /actions", start.clone(), 204, ""),
                ("GET /", Value::Null, 200, r#""state":"Running""#),
                ("PUT /machine-config", size, 400, after),
                ("PUT /entropy", json!({}), 400, after),
                ("PUT /actions", start, 400, after),
                ("PUT /snapshot/load", load.clone(), 400, after),
                ("PUT /drives/d", drive, 400, "PCI is not enabled"),
                (
                    "PATCH /balloon",
                    json!({ "amount_mib": 1 }),
                    400,
                    "Balloon update error",
                ),
                (
                    "PUT /snapshot/create",
                    create.clone(),
                    400,
                    "save/restore unavailable while running",
                ),
                ("PATCH /vm", state("Resumed"), 204, ""),
                ("PATCH /vm", state("Paused"), 204, ""),
                ("PATCH /vm", state("Paused"), 204, ""),
                ("GET /", Value::Null, 200, r#""state":"Paused""#),
                ("PUT /snapshot/create", create, 204, ""),
            ],
        )
        .await;
        let from = alone.place.path();
        let again = alone.another().await;
        for name in ["s", "m"] {
            std::fs::copy(from.join(name), again.place.path().join(name)).unwrap();
        }
        loads(&again, &load).await;
    }
}

/// A call that is no load does not end it; one that loads has it paused.
async fn loads(alone: &Alone, load: &Value) {
    let mut raw = alone.connect().await;
    let mut with_more = load.clone();
    with_more["x"] = json!(1);
    let mut with_less = load.clone();
    with_less["mem_backend"] = Value::Null;
    let missing =
        format!("{JSON}missing field: either `mem_backend` or `mem_file_path` is required.");
    each(
        &mut raw,
        &[
            ("PUT /snapshot/load", with_more, 400, "unknown field `x`"),
            ("PUT /snapshot/load", with_less, 400, &missing),
            ("PUT /snapshot/load", load.clone(), 204, ""),
            ("GET /", Value::Null, 200, r#""state":"Paused""#),
        ],
    )
    .await;
}

#[tokio::test]
async fn devices_have_their_limits() {
    for alone in Alone::each().await {
        let mut raw = alone.connect().await;
        let drive =
            |id: &str| json!({ "drive_id": id, "path_on_host": "k", "is_root_device": false });
        for number in 0..18 {
            let id = format!("d{number}");
            let put = raw.call(&format!("PUT /drives/{id}"), drive(&id)).await;
            assert_eq!(put.0, 204);
        }
        let start = json!({ "action_type": "InstanceStart" });
        let busy =
            "Error binding to the host-side Unix socket: Address already in use (os error 98)";
        let absent =
            "Error manipulating the backing file: No such file or directory (os error 2) n";
        let no_file = json!({ "drive_id": "n", "path_on_host": "n", "is_root_device": false });
        let long = json!({ "kernel_image_path": "k", "boot_args": "x".repeat(2048) });
        let card = json!({ "iface_id": "c", "host_dev_name": "a-name-too-long-for-linux" });
        each(
            &mut raw,
            &[
                (
                    "PUT /boot-source",
                    long,
                    400,
                    "Invalid cmdline capacity provided.",
                ),
                (
                    "PUT /boot-source",
                    json!({ "kernel_image_path": "k" }),
                    204,
                    "",
                ),
                (
                    "PUT /actions",
                    start,
                    400,
                    "The requested resource is not available.",
                ),
                ("GET /", Value::Null, 200, r#""state":"Not started""#),
                ("PUT /drives/n", no_file, 400, absent),
                (
                    "PUT /network-interfaces/c",
                    card,
                    400,
                    "Invalid interface name",
                ),
                (
                    "PUT /vsock",
                    json!({ "guest_cid": 3, "uds_path": "k" }),
                    400,
                    busy,
                ),
                (
                    "PUT /balloon",
                    json!({ "amount_mib": 1000, "deflate_on_oom": true }),
                    400,
                    "is too large.",
                ),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_load_that_fails_is_the_last_answer() {
    for alone in Alone::each().await {
        let mut raw = alone.connect().await;
        let backend = json!({ "backend_type": "File", "backend_path": "m" });
        let load = json!({ "snapshot_path": "s", "mem_backend": backend });
        let (status, text) = raw.call("PUT /snapshot/load", load).await;
        assert_eq!(status, 400);
        assert!(
            text.contains("Failed to open snapshot file: No such file"),
            "{text}"
        );
        assert_eq!(raw.rest().await, "");
        assert_eq!(alone.launched.exited().await, ProcessExit::Code(1));
        assert!(
            Path::new(&alone.place.path().join("api")).exists(),
            "sockets are never removed"
        );
    }
}
