//! Bytes to messages and back. Input is bounded; whatever is wrong with it becomes one clear error.

use memchr::memchr;

use super::message::{ErrorCode, Request, Response};

/// Collects bytes until a line is whole.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    limit: usize,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `limit` bytes.
    pub fn new(limit: usize) -> LineBuffer {
        LineBuffer {
            bytes: Vec::new(),
            limit,
        }
    }

    /// Takes bytes in. What goes beyond one over-long line is thrown away: it is an error anyhow.
    pub fn feed(&mut self, bytes: &[u8]) {
        let room = (self.limit * 2).saturating_sub(self.bytes.len());
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The next whole line, without its newline.
    ///
    /// # Errors
    /// The answer to a line that is too long.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, Response> {
        let end = memchr(b'\n', &self.bytes);
        if end.unwrap_or(self.bytes.len()) > self.limit {
            self.bytes = Vec::new();
            return Err(refusal(
                format!("the request is longer than {} bytes", self.limit),
                None,
            ));
        }
        let Some(end) = end else { return Ok(None) };
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        Ok(Some(line))
    }
}

/// Reads a request.
///
/// # Errors
/// The answer to a line that is none.
pub fn parse_request(line: &[u8]) -> Result<Request, Response> {
    let hint = || Some("send one JSON object a line, such as {\"command\":\"list\"}".to_owned());
    let text = std::str::from_utf8(line)
        .map_err(|_| refusal("the request is not UTF-8".into(), hint()))?;
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| refusal(format!("the request is not JSON: {error}"), hint()))?;
    serde_json::from_value(value)
        .map_err(|error| refusal(format!("the request asks nothing known: {error}"), hint()))
}

/// A message as a line.
pub fn encode<M: serde::Serialize>(message: &M) -> Vec<u8> {
    // The messages hold nothing that JSON cannot say; an empty line stands for the impossible failure.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

fn refusal(message: String, hint: Option<String>) -> Response {
    Response::Error {
        code: ErrorCode::BadRequest,
        message,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LineBuffer, encode, parse_request};
    use crate::control::message::{Request, Response};

    #[test]
    fn a_request_comes_back_as_it_was_sent() {
        let request = Request::Status {
            service: Some("web".into()),
        };
        let line = encode(&request);
        assert_eq!(line, b"{\"command\":\"status\",\"service\":\"web\"}\n");
        assert_eq!(parse_request(&line[..line.len() - 1]), Ok(request));
        assert_eq!(
            parse_request(br#"{"command":"list"}"#),
            Ok(Request::List {})
        );
    }

    #[test]
    fn nonsense_gets_one_clear_error() {
        for (line, part) in [
            (&b"\xff"[..], "not UTF-8"),
            (b"hello", "not JSON"),
            (br#"{"command":"lst"}"#, "unknown variant `lst`"),
            (br#"{"command":"list","x":1}"#, "unknown field `x`"),
        ] {
            let Err(Response::Error { message, .. }) = parse_request(line) else {
                unreachable!("{line:?} was taken")
            };
            assert!(message.contains(part), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(lines in proptest::collection::vec("[a-z]{0,20}", 0..10), size in 1..30usize) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let (mut buffer, mut found) = (LineBuffer::new(1000), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                buffer.feed(chunk);
                while let Ok(Some(line)) = buffer.next_line() {
                    found.push(String::from_utf8_lossy(&line).into_owned());
                }
            }
            prop_assert_eq!(found, lines);
        }

        #[test]
        fn an_endless_line_is_refused_and_takes_no_room(chunks in 1..100usize) {
            let mut buffer = LineBuffer::new(1000);
            let mut refused = false;
            for _ in 0..chunks + 2 {
                buffer.feed(&[b'x'; 600]);
                prop_assert!(buffer.bytes.len() <= 2000);
                refused |= buffer.next_line().is_err();
            }
            prop_assert!(refused);
        }
    }
}
