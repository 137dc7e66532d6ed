//! Which request is which call.

use std::sync::{Arc, Mutex};

use attest_vmm::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::CloudHypervisor;
use super::vmm::{Fault, Outcome, Vmm};
use crate::common::http::{Answer, Api, Request};
use crate::common::program::{Call, Own};

const ROOT: &str = "/api/v1/";

/// The API.
pub(super) struct Requests {
    fake: CloudHypervisor,
    own: Arc<Own>,
    vmm: Mutex<Vmm>,
    exits: mpsc::UnboundedSender<i32>,
    /// When it has answered.
    then_exits: Mutex<Option<i32>>,
}

impl Requests {
    pub(super) fn new(
        fake: CloudHypervisor,
        own: Arc<Own>,
        vmm: Vmm,
        exits: mpsc::UnboundedSender<i32>,
    ) -> Self {
        Self {
            fake,
            own,
            vmm: Mutex::new(vmm),
            exits,
            then_exits: Mutex::default(),
        }
    }
}

impl Api for Requests {
    const SERVER: &'static str = "Cloud Hypervisor API";

    fn answer(&self, request: Request) -> BoxFuture<'_, Option<Answer>> {
        Box::pin(async move {
            let path = request.path.strip_prefix(ROOT).unwrap_or_default();
            let what = format!("{} {path}", request.method);
            let body = request.body.as_deref();
            let parsed = body.and_then(|body| serde_json::from_slice(body).ok());
            let number = self.own.called(Call {
                what: what.clone(),
                body: parsed.unwrap_or(Value::Null),
            });
            if let Some(code) = self.fake.fate.called(&what, number).await {
                let _ = self.exits.send(code);
                return None;
            }
            let outcome = parse_and_do(request.method, path, body, &mut self.vmm.lock().unwrap());
            if let Some(code) = self.fake.fate.answered(number) {
                *self.then_exits.lock().unwrap() = Some(code);
            }
            Some(encoded(outcome))
        })
    }

    fn answered(&self) {
        if let Some(code) = self.then_exits.lock().unwrap().take() {
            let _ = self.exits.send(code);
        }
    }
}

/// Fact: errors are JSON arrays of strings.
fn encoded(outcome: Outcome) -> Answer {
    match outcome {
        Ok(None) => Answer {
            status: 204,
            body: None,
        },
        Ok(Some(value)) => Answer {
            status: 200,
            body: Some(value.to_string()),
        },
        Err(Fault { status, chain }) => Answer {
            status,
            // Where it knows nothing to say it says nothing.
            body: Some(if chain.is_empty() {
                String::new()
            } else {
                json!(chain).to_string()
            }),
        },
    }
}

const CALLS: [(&str, &str); 9] = [
    ("GET", "vmm.ping"),
    ("GET", "vm.info"),
    ("PUT", "vm.create"),
    ("PUT", "vm.boot"),
    ("PUT", "vm.pause"),
    ("PUT", "vm.resume"),
    ("PUT", "vm.snapshot"),
    ("PUT", "vm.restore"),
    ("PUT", "vm.resize"),
];

fn parse_and_do(method: &str, path: &str, body: Option<&[u8]>, vmm: &mut Vmm) -> Outcome {
    let Some((expected, _)) = CALLS.iter().find(|(_, known)| *known == path) else {
        return Err(Fault::new(404, &["Not Found"]));
    };
    if *expected != method {
        return Err(Fault::new(400, &["Bad Request"]));
    }
    match (path, body) {
        ("vmm.ping", None) => Ok(Some(
            json!({ "build_version": "v53.0", "version": "53.0.0", "pid": 1, "features": ["kvm"] }),
        )),
        ("vm.info", None) => vmm.info(),
        ("vm.boot", None) => vmm.boot(),
        ("vm.pause", None) => vmm.pause(),
        ("vm.resume", None) => vmm.resume(),
        ("vm.create", Some(body)) => vmm.create(json(body)?),
        ("vm.snapshot", Some(body)) => vmm.snapshot(&url(body, "destination_url")?),
        ("vm.restore", Some(body)) => vmm.restore(&url(body, "source_url")?),
        ("vm.resize", Some(body)) => vmm.resize(&json(body)?),
        _ => Err(Fault::new(400, &[])),
    }
}

fn json(body: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::new(400, &["Failed to deserialize JSON", &error.to_string()]))
}

fn url(body: &[u8], name: &str) -> Result<String, Fault> {
    let body = json(body)?;
    let url = body[name].as_str().map(str::to_owned);
    url.ok_or_else(|| Fault::new(400, &["Failed to deserialize JSON", "missing field"]))
}
