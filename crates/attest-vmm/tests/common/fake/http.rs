//! The HTTP server that both VMMs have, `micro_http`: one thread, few connections, no patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use attest_vmm::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

use super::program::Tasks;

/// Fact: a body over 51200 bytes desynchronises a keep-alive connection.
const LONGEST_BODY: usize = 51200;
/// Fact, measured: ten clients are served, and the next gets 503.
const CLIENTS: usize = 10;
/// Bytes of the lines before a body, of which no caller needs as many.
const LONGEST_HEAD: usize = 16 * 1024;

/// A request that is one.
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<Vec<u8>>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// JSON.
    pub(crate) body: Option<String>,
}

/// Who answers requests.
pub(crate) trait Api: Send + Sync + 'static {
    /// In the head of each answer.
    const SERVER: &'static str;
    /// `None`: nothing is answered, and the connection ends.
    fn answer(&self, request: Request) -> BoxFuture<'_, Option<Answer>>;
    /// The answer is on its way.
    fn answered(&self);
}

/// Serve all who connect, for as long as the tasks run.
pub(crate) fn serve<A: Api>(listener: UnixListener, api: A, tasks: &Tasks) {
    let api = Arc::new(Mutex::new(api));
    let clients = Arc::new(AtomicUsize::new(0));
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (api, clients) = (Arc::clone(&api), Arc::clone(&clients));
            connections.spawn(async move {
                let number = clients.fetch_add(1, Ordering::SeqCst);
                // That the other end is gone ends it, too.
                if number < CLIENTS {
                    let _ = client(stream, &api).await;
                } else {
                    let _ = too_many::<A>(stream).await;
                }
                clients.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
}

async fn too_many<A: Api>(mut stream: UnixStream) -> std::io::Result<()> {
    let body = r#"{ "error": "Too many open connections" }"#;
    let head = format!(
        "HTTP/1.1 503\r\nServer: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        A::SERVER,
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await
}

async fn client<A: Api>(mut stream: UnixStream, api: &Mutex<A>) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if read.len() > LONGEST_HEAD || stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end + 4);
        let request = match Head::parse(&head) {
            Err(words) => Err(words),
            // The body stays, and is taken for more requests.
            Ok(Head { length, .. }) if length > LONGEST_BODY => Err(format!(
                "Request payload with size {length} is larger than the limit of {LONGEST_BODY} allowed by server."
            )),
            Ok(head) => {
                while read.len() < head.length {
                    if stream.read_buf(&mut read).await? == 0 {
                        return Ok(());
                    }
                }
                let body: Vec<u8> = read.drain(..head.length).collect();
                Ok(Request {
                    method: head.method,
                    path: head.path,
                    body: (head.length > 0).then_some(body),
                })
            }
        };
        // Fact: `GET /` blocks while a snapshot is being written: there is one thread for all clients.
        let api = api.lock().await;
        let answer = match request {
            Err(words) => refused(&words),
            Ok(request) => match api.answer(request).await {
                Some(answer) => answer,
                None => return Ok(()),
            },
        };
        stream.write_all(&encode::<A>(&answer)).await?;
        api.answered();
    }
}

fn encode<A: Api>(answer: &Answer) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 {} \r\nServer: {}\r\nConnection: keep-alive\r\n",
        answer.status,
        A::SERVER
    );
    match &answer.body {
        Some(body) => {
            let length = body.len();
            text += "Content-Type: application/json\r\n";
            text += &["Content-Length: ", &length.to_string(), "\r\n\r\n", body].concat();
        }
        None => text += "\r\n",
    }
    text.into_bytes()
}

/// Fact: an unsupported method is 400 with `{"error": …}`. That has two lines, which no JSON may.
fn refused(words: &str) -> Answer {
    Answer {
        status: 400,
        body: Some(format!(
            "{{ \"error\": \"{words}\nAll previous unanswered requests will be dropped.\" }}"
        )),
    }
}

struct Head {
    method: &'static str,
    path: String,
    length: usize,
}

impl Head {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || "Invalid request.".to_owned();
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().ok_or_else(invalid);
        let (method, path, version) = (word()?, word()?, word()?);
        let known = ["GET", "PUT", "PATCH", "DELETE"];
        let method = known.into_iter().find(|known| *known == method);
        let method = method.ok_or("Invalid HTTP Method: Unsupported HTTP method.")?;
        if !["HTTP/1.0", "HTTP/1.1"].contains(&version) {
            return Err("Invalid HTTP Version: Unsupported HTTP version.".to_owned());
        }
        let mut length = 0;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| {
                format!("Invalid header. Reason: Invalid header format. Header: {line}")
            })?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    length = value.trim().parse().map_err(|_| {
                        format!("Invalid header. Reason: Invalid content length. Header: {value}")
                    })?;
                }
                // Measured: bodies in pieces are refused.
                "transfer-encoding" if value.trim() != "identity" => return Err(invalid()),
                _ => {}
            }
        }
        let path = path.to_owned();
        Ok(Self {
            method,
            path,
            length,
        })
    }
}
