//! The client of an API: HTTP/1.1 with JSON over a unix socket.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// What can go wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The VMM refused, in its own words.
    #[error("{words} (HTTP {status})")]
    Refused {
        /// HTTP's number.
        status: u16,
        /// The VMM's.
        words: String,
    },
    /// The VMM closed its socket: it has ended, or is about to.
    #[error("the VMM closed its API before it answered")]
    Closed,
    /// It does not answer.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It answered what is no answer of this API.
    #[error("an answer that is none: {0}")]
    Answer(String),
}

/// Configuration takes less than a millisecond and the start of a guest some; a VMM that takes this long hangs.
pub(crate) const ANSWERS: Duration = Duration::from_secs(30);
/// Memory is written at some hundred MB a second at least; the largest guest that a test host holds takes minutes.
pub(crate) const WRITES: Duration = Duration::from_mins(30);
/// Bytes of an answer: the longest known, a whole configuration, has some thousand.
const LONGEST: usize = 1 << 20;

/// How a VMM says why it refuses.
pub(crate) type Words = fn(&[u8]) -> Option<String>;

/// One connection to an API, kept alive over all calls.
pub(crate) struct Api {
    sender: Mutex<SendRequest<Full<Bytes>>>,
    /// The path that all calls begin with.
    root: &'static str,
    words: Words,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// On a connected socket. Sends nothing.
    pub(crate) async fn new(
        socket: UnixStream,
        root: &'static str,
        words: Words,
    ) -> Result<Self, ApiError> {
        let (sender, connection) = handshake(TokioIo::new(socket))
            .await
            .map_err(|_| ApiError::Closed)?;
        // It ends with the VMM, or with the sender.
        tokio::spawn(connection);
        Ok(Self {
            sender: Mutex::new(sender),
            root,
            words,
        })
    }

    /// Tell the VMM something; what it answers does not matter.
    pub(crate) async fn put(&self, path: &str, body: &impl Serialize) -> Result<(), ApiError> {
        self.call(Method::PUT, path, Some(json(body)), ANSWERS)
            .await
            .map(drop)
    }

    /// The same without a body.
    pub(crate) async fn put_nothing(&self, path: &str) -> Result<(), ApiError> {
        self.call(Method::PUT, path, None, ANSWERS).await.map(drop)
    }

    /// The same, for what takes as long as memory is large.
    pub(crate) async fn put_long(&self, path: &str, body: &impl Serialize) -> Result<(), ApiError> {
        self.call(Method::PUT, path, Some(json(body)), WRITES)
            .await
            .map(drop)
    }

    /// Change something that is there.
    pub(crate) async fn patch(&self, path: &str, body: &impl Serialize) -> Result<(), ApiError> {
        self.call(Method::PATCH, path, Some(json(body)), ANSWERS)
            .await
            .map(drop)
    }

    /// Ask for something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let answer = self.call(Method::GET, path, None, ANSWERS).await?;
        serde_json::from_slice(&answer).map_err(|error| ApiError::Answer(error.to_string()))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        within: Duration,
    ) -> Result<Bytes, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.root))
            .header(HOST, "localhost")
            .header(ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .expect("paths are made of what URIs may have");
        let called = async {
            // One call after the other: neither VMM looks at a second before it has answered the first.
            let mut sender = self.sender.lock().await;
            sender.ready().await.map_err(|_| ApiError::Closed)?;
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| closed_or_garbage(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => closed_or_garbage(&error),
                Err(too_long) => ApiError::Answer(too_long.to_string()),
            })?;
            Ok((status, body.to_bytes()))
        };
        let answered = tokio::time::timeout(within, called).await;
        let (status, body) = answered.map_err(|_| ApiError::Silent(within))??;
        if status.is_success() {
            Ok(body)
        } else {
            Err(self.refusal(status, &body))
        }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ApiError {
        let words =
            (self.words)(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
        ApiError::Refused {
            status: status.as_u16(),
            words: words.trim().to_owned(),
        }
    }
}

fn closed_or_garbage(error: &hyper::Error) -> ApiError {
    if error.is_parse() {
        ApiError::Answer(error.to_string())
    } else {
        ApiError::Closed
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("calls have text as keys")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn words(answer: &[u8]) -> Option<String> {
        answer
            .strip_prefix(b"why: ")
            .map(|words| String::from_utf8_lossy(words).into_owned())
    }

    /// An API, and the VMM's end of its socket.
    async fn api() -> (Api, UnixStream) {
        let (ours, vmms) = UnixStream::pair().unwrap();
        (Api::new(ours, "/api/v1", words).await.unwrap(), vmms)
    }

    /// The next request, with this body.
    async fn asked(vmm: &mut UnixStream, body: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
            assert_ne!(vmm.read_buf(&mut text).await.unwrap(), 0);
        }
        String::from_utf8(text).unwrap()
    }

    /// What becomes of a call that is answered so, before the VMM closes its socket.
    async fn answered(answer: &str) -> Result<serde_json::Value, ApiError> {
        let (api, mut vmm) = api().await;
        let answering = async {
            asked(&mut vmm, "").await;
            vmm.write_all(answer.as_bytes()).await.unwrap();
            drop(vmm);
        };
        tokio::join!(api.get("/thing"), answering).0
    }

    fn with_body(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn calls_are_requests_on_one_connection() {
        let (api, mut vmm) = api().await;
        let answering = async {
            let first = asked(&mut vmm, r#"{"a":1}"#).await;
            vmm.write_all(b"HTTP/1.1 204 \r\n\r\n").await.unwrap();
            let second = asked(&mut vmm, "").await;
            vmm.write_all(with_body("200 OK", "[2]").as_bytes())
                .await
                .unwrap();
            (first, second)
        };
        let calling = async {
            let one = serde_json::json!({ "a": 1 });
            api.put("/one", &one).await.unwrap();
            api.get::<Vec<u32>>("/two").await.unwrap()
        };
        let (read, (first, second)) = tokio::join!(calling, answering);
        assert_eq!(read, [2]);
        assert!(first.starts_with("PUT /api/v1/one HTTP/1.1\r\n"), "{first}");
        assert!(first.contains("content-length: 7\r\n"), "{first}");
        assert!(
            second.starts_with("GET /api/v1/two HTTP/1.1\r\n"),
            "{second}"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_in_the_vmms_words() {
        let refused = |status, words: &str| {
            Err(ApiError::Refused {
                status,
                words: words.to_owned(),
            })
        };
        let known = with_body("400 Bad Request", "why: because\n");
        assert_eq!(answered(&known).await, refused(400, "because"));
        let other = with_body("503 ", r#"{ "error": "Too many open connections" }"#);
        let whole = r#"{ "error": "Too many open connections" }"#;
        assert_eq!(answered(&other).await, refused(503, whole));
        let none = with_body("500 Internal", "");
        assert_eq!(answered(&none).await, refused(500, ""));
    }

    #[tokio::test]
    async fn an_end_is_no_answer() {
        assert_eq!(answered("").await, Err(ApiError::Closed));
        let halves = [
            "HTTP/1.1 20",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1,",
        ];
        for half in halves {
            assert_eq!(answered(half).await, Err(ApiError::Closed), "{half}");
        }
        let (api, vmm) = api().await;
        drop(vmm);
        for _ in 0..2 {
            assert_eq!(api.put_nothing("/thing").await, Err(ApiError::Closed));
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_said() {
        let long = "x".repeat(LONGEST + 1);
        for (answer, words) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", "invalid HTTP"),
            (&with_body("200 OK", "no JSON"), "expected"),
            (&with_body("200 OK", &long), "length limit exceeded"),
        ] {
            let error = answered(answer).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, ApiError::Answer(_)), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_is_not_waited_for_for_ever() {
        let (api, _vmm) = api().await;
        let began = tokio::time::Instant::now();
        assert_eq!(
            api.patch("/thing", &()).await,
            Err(ApiError::Silent(ANSWERS))
        );
        assert_eq!(began.elapsed(), ANSWERS);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_may_take_longer() {
        let (api, mut vmm) = api().await;
        let slow = async {
            asked(&mut vmm, "null").await;
            tokio::time::sleep(2 * ANSWERS).await;
            vmm.write_all(b"HTTP/1.1 204 \r\n\r\n").await.unwrap();
            vmm
        };
        let (called, _vmm) = tokio::join!(api.put_long("/thing", &()), slow);
        called.unwrap();
        assert_eq!(
            api.put_long("/thing", &()).await,
            Err(ApiError::Silent(WRITES))
        );
    }
}
