//! Lines of a pipe, of bounded length.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// What is longer is cut: builds print what they like.
const LONGEST: usize = 64 * 1024;

/// Reads lines.
pub(super) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    /// Whether the line was given out.
    is_over: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from: BufReader::new(from),
            line: Vec::new(),
            is_over: false,
        }
    }

    /// The next line without its end; none after the last. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<&[u8]> {
        if std::mem::take(&mut self.is_over) {
            self.line.clear();
        }
        loop {
            // A pipe that cannot be read has ended.
            let bytes = self.from.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                self.is_over = true;
                return (!self.line.is_empty()).then_some(&self.line);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.from.consume(used);
            if end.is_some() {
                self.is_over = true;
                return Some(&self.line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_one_by_one_and_none_is_too_long() {
        let text = format!("one\n\n{}\nlast", "x".repeat(LONGEST + 10));
        let mut lines = Lines::new(text.as_bytes());
        let mut lengths = Vec::new();
        while let Some(line) = lines.next().await {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [3, 0, LONGEST, 4]);
    }
}
