//! The schema of the surface.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::GENERATION;
use crate::error::ErrorKind;
use crate::table::{methods, notifications};
use crate::types::{Hello, HelloAnswer};

/// Everything that a client may say, and hear, as one document: methods by name, each with JSON
/// Schemas of its parameters and result and the names of the bytes that go with them.
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let mut documented = Map::new();
    documented.insert(
        "hello".to_owned(),
        json!({
            "description": "The first call.",
            "params": generator.subschema_for::<Hello>(),
            "result": generator.subschema_for::<HelloAnswer>(),
        }),
    );
    for method in methods() {
        let mut entry = json!({
            "description": method.doc,
            "params": (method.params)(&mut generator),
            "result": (method.result)(&mut generator),
        });
        if method.of_machine {
            entry["of_machine"] = true.into();
        }
        for (name, attached) in [
            ("params_attachments", method.takes),
            ("result_attachments", method.gives),
        ] {
            if !attached.is_empty() {
                entry[name] = json!(attached);
            }
        }
        documented.insert(method.name.to_owned(), entry);
    }
    let said: Map<String, Value> = notifications()
        .into_iter()
        .map(|(name, params, doc)| {
            let entry = json!({ "description": doc, "params": params(&mut generator) });
            (name.to_owned(), entry)
        })
        .collect();
    let event = generator.subschema_for::<attest_events::Event>();
    let kind = generator.subschema_for::<ErrorKind>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "attest-rpc",
        "generation": GENERATION,
        "methods": documented,
        "client_notifications": said,
        "server_notifications": {
            "event": { "description": "Something happened.", "params": event },
        },
        "error_kinds": kind,
        "$defs": generator.take_definitions(true),
    })
}
