//! The API without attest's client: for calls that it does not make.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A connection to an API.
pub(crate) struct Raw(UnixStream);

impl Raw {
    pub(crate) async fn connect(place: &Path) -> Self {
        loop {
            match UnixStream::connect(place.join("api")).await {
                Ok(stream) => return Self(stream),
                // Between the two system calls that make a socket and let it listen.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// One answer: its number, and its body.
    pub(crate) async fn answer(&mut self) -> (u16, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap().into());
        }
        let number = head.split([' ', '\r']).nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| {
            let length = line.strip_prefix("Content-Length: ")?;
            length.parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body).await.unwrap();
        (number, String::from_utf8(body).unwrap())
    }

    pub(crate) async fn call(&mut self, what: &str, body: Value) -> (u16, String) {
        let body = match body {
            Value::Null => String::new(),
            Value::String(text) => text,
            body => body.to_string(),
        };
        let length = body.len();
        let head = if length > 0 {
            format!("Content-Length: {length}\r\n")
        } else {
            String::new()
        };
        self.send(&format!("{what} HTTP/1.1\r\n{head}\r\n{body}"))
            .await;
        self.answer().await
    }

    /// Until the other side has closed it.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).await.unwrap();
        rest
    }
}
