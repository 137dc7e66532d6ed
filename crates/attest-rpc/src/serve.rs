//! Serving one client until it leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use attest_events::Event;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinSet;

use crate::GENERATION;
use crate::calls::log;
use crate::error::RpcError;
use crate::session::Session;
use crate::table::{call, parse};
use crate::types::{Cancel, Hello, HelloAnswer};
use crate::wire::{Call, Incoming, Notification, Reader, WireError, Writer, write};

/// How a client left.
#[derive(Debug)]
pub enum Served {
    /// It closed the stream between two messages.
    Left,
    /// What it sent cannot be read; it was told so.
    Unreadable(WireError),
}

/// The calls that go on, and what gives each up.
type Open = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// Serve a client until it leaves. Calls that go on then are given up; its labs go on until
/// [`Session::close`].
pub async fn serve(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin + Send + 'static,
    session: Arc<Session>,
) -> Served {
    let (answers, queued) = Writer::new();
    let writing = tokio::spawn(write(writer, queued));
    let mut client = Client {
        session,
        answers,
        open: Open::default(),
        calls: JoinSet::new(),
        is_known: false,
    };
    let served = client.serve(Reader::new(reader)).await;
    // Whoever left is not written to; whoever cannot be read is told.
    client.calls.shutdown().await;
    if let Served::Unreadable(error) = &served {
        let error = RpcError::Unreadable(attest::chain(error));
        client.answers.error(None, &error).await;
    }
    drop(client);
    let _ = writing.await;
    served
}

struct Client {
    session: Arc<Session>,
    answers: Writer,
    open: Open,
    calls: JoinSet<()>,
    is_known: bool,
}

impl Client {
    async fn serve<R: AsyncRead + Unpin>(&mut self, mut reader: Reader<R>) -> Served {
        loop {
            while self.calls.try_join_next().is_some() {}
            match reader.next().await {
                Ok(None) | Err(WireError::Cut) => return Served::Left,
                Ok(Some(Incoming::Call(call))) => self.call(call).await,
                Ok(Some(Incoming::Notification(said))) => self.hear(said),
                Err(error) => return Served::Unreadable(error),
            }
        }
    }

    async fn call(&mut self, call: Call) {
        if call.method == "hello" {
            let answer = self.hello(&call);
            self.answer(call.id, answer).await;
            return;
        }
        if !self.is_known {
            self.answers.error(Some(call.id), &RpcError::Stranger).await;
            return;
        }
        if call.method == "events.subscribe"
            && let Some(events) = self.session.subscribe()
        {
            self.tell(events);
        }
        let (give_up, cancelled) = oneshot::channel();
        let id = call.id;
        self.open.lock().expect("not poisoned").insert(id, give_up);
        let (session, answers) = (Arc::clone(&self.session), self.answers.clone());
        let open = Arc::clone(&self.open);
        self.calls.spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = self::call(&session, &call.method, call.params, call.attachments) => outcome,
                Ok(()) = cancelled => Err(RpcError::cancelled()),
            };
            open.lock().expect("not poisoned").remove(&id);
            match outcome {
                Ok((result, attachments)) => answers.result(id, result, attachments).await,
                Err(error) => answers.error(Some(id), &error).await,
            };
        });
    }

    async fn answer(&self, id: u64, answer: Result<HelloAnswer, RpcError>) {
        match answer {
            Ok(answer) => {
                let answer = serde_json::to_value(answer).expect("plain values");
                self.answers.result(id, answer, Vec::new()).await
            }
            Err(error) => self.answers.error(Some(id), &error).await,
        };
    }

    fn hello(&mut self, call: &Call) -> Result<HelloAnswer, RpcError> {
        let hello: Hello = parse("hello", call.params.clone())?;
        if hello.generation == 0 {
            return Err(RpcError::Params(
                "hello: `generation` counts from 1".to_owned(),
            ));
        }
        self.is_known = true;
        Ok(HelloAnswer {
            generation: hello.generation.min(GENERATION),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        })
    }

    /// What is said wants no answer: what is wrong with it goes to the log.
    fn hear(&mut self, said: Notification) {
        let heard = match said.method.as_str() {
            "cancel" => parse("cancel", said.params).map(|Cancel { id }| {
                // One that has just ended is none the worse for it.
                if let Some(give_up) = self.open.lock().expect("not poisoned").remove(&id) {
                    let _ = give_up.send(());
                }
            }),
            _ => log::hear(&self.session, said),
        };
        if let Err(error) = heard {
            self.session
                .recorder()
                .record(attest_events::EventKind::Warning {
                    message: format!(
                        "the client said what cannot be understood: {}",
                        error.to_json()["message"].as_str().unwrap_or_default()
                    ),
                });
        }
    }

    fn tell(&mut self, mut events: broadcast::Receiver<Arc<Event>>) {
        let answers = self.answers.clone();
        self.calls.spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        let event = serde_json::to_value(&*event).expect("events are plain");
                        if !answers.notify("event", event).await {
                            return;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
    }
}
