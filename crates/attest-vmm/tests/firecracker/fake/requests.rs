//! Which request is which call, and what it has to be like.

use std::sync::{Arc, Mutex};

use attest_vmm::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::vmm::{Fault, Outcome, Vmm};
use super::{FAILED, Firecracker};
use crate::common::http::{Answer, Api, Request};
use crate::common::program::{Call, Own};

/// The API.
pub(super) struct Requests {
    firecracker: Firecracker,
    own: Arc<Own>,
    vmm: Mutex<Vmm>,
    exits: mpsc::UnboundedSender<i32>,
    /// When it has answered.
    then_exits: Mutex<Option<i32>>,
}

impl Requests {
    pub(super) fn new(
        firecracker: Firecracker,
        own: Arc<Own>,
        vmm: Vmm,
        exits: mpsc::UnboundedSender<i32>,
    ) -> Self {
        Self {
            firecracker,
            own,
            vmm: Mutex::new(vmm),
            exits,
            then_exits: Mutex::default(),
        }
    }
}

impl Api for Requests {
    const SERVER: &'static str = "Firecracker API";

    fn answer(&self, request: Request) -> BoxFuture<'_, Option<Answer>> {
        Box::pin(async move {
            let what = format!("{} {}", request.method, request.path);
            let body = request.body.as_deref();
            let body = body.and_then(|body| serde_json::from_slice(body).ok());
            let number = self.own.called(Call {
                what: what.clone(),
                body: body.unwrap_or(Value::Null),
            });
            let fate = &self.firecracker.fate;
            if let Some(code) = fate.called(&what, number).await {
                let _ = self.exits.send(code);
                return None;
            }
            let outcome = parse_and_do(&request, &mut self.vmm.lock().unwrap());
            // Fact: a failed `snapshot/load` restore answers 400 and then the process exits 1.
            if outcome.as_ref().is_err_and(|fault| fault.is_fatal) {
                *self.then_exits.lock().unwrap() = Some(FAILED);
            }
            if let Some(code) = fate.answered(number) {
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

/// Fact: errors are 400 `{"fault_message": "…"}`.
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
        Err(fault) => Answer {
            status: 400,
            body: Some(json!({ "fault_message": fault.words }).to_string()),
        },
    }
}

fn parse_and_do(request: &Request, vmm: &mut Vmm) -> Outcome {
    let method = request.method;
    let mut path = request.path.trim_start_matches('/').split('/');
    let first = path.next().unwrap_or_default();
    let second = path.next();
    let unknown = |path: &str| {
        Fault::refused(format!(
            "Invalid request method and/or path: {method} {path}."
        ))
    };
    let Some(body) = request.body.as_deref() else {
        return match (method, first, second) {
            ("GET", "", None) => Ok(Some(vmm.describe())),
            ("GET", "version", None) => Ok(Some(vmm.version())),
            ("GET", "balloon", Some("statistics")) => vmm.balloon_statistics(),
            ("PUT", ..) => Err(Fault::refused("Empty PUT request.")),
            ("PATCH", ..) => Err(Fault::refused("Empty PATCH request.")),
            _ => Err(unknown(first)),
        };
    };
    match (method, first, second) {
        ("GET", ..) => Err(Fault::refused("GET request cannot have a body.")),
        ("PUT", "machine-config", None) => vmm.configure(json(body)?),
        ("PUT", "boot-source", None) => vmm.boot_source(json(body)?),
        ("PUT", "drives", id) => {
            let id = checked_id(id)?;
            let drive: super::calls::Drive = json(body)?;
            same(id, &drive.drive_id)?;
            vmm.drive(drive)
        }
        ("PUT", "network-interfaces", id) => {
            let id = checked_id(id)?;
            let card: super::calls::NetworkInterface = json(body)?;
            same(id, &card.iface_id)?;
            vmm.card(card)
        }
        ("PUT", "vsock", None) => vmm.vsock(json(body)?),
        ("PUT", "entropy", None) => vmm.entropy(json(body)?),
        ("PUT", "balloon", None) => vmm.balloon(json(body)?),
        ("PATCH", "balloon", None) => vmm.update_balloon(&json(body)?),
        ("PUT", "actions", None) => vmm.act(&json(body)?),
        ("PATCH", "vm", None) => vmm.change(&json(body)?),
        ("PUT", "snapshot", Some("create")) => vmm.save(&json(body)?),
        ("PUT", "snapshot", Some("load")) => vmm.load(&json(body)?),
        ("PUT", "snapshot", Some(other)) => Err(unknown(&format!("/snapshot/{other}"))),
        _ => Err(unknown(first)),
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        Fault::refused(format!(
            "An error occurred when deserializing the json body of a request: {error}."
        ))
    })
}

/// Fact: ids `[A-Za-z0-9_]`.
fn checked_id(id: Option<&str>) -> Result<&str, Fault> {
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Fault::refused("The ID cannot be empty."))?;
    if id.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(Fault::refused(
        "API Resource IDs can only contain alphanumeric characters and underscores.",
    ))
}

fn same(id: &str, other: &str) -> Result<(), Fault> {
    if id == other {
        return Ok(());
    }
    Err(Fault::refused(
        "The id from the path does not match the id from the body!",
    ))
}
