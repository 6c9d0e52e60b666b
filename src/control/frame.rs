//! Bytes to messages and back. Input is bounded; whatever is wrong with it becomes one clear error.

use memchr::memchr;
use serde::Deserialize;
use serde_json::Value;

use super::message::{ErrorCode, Request, Response, ServiceStatus};
use crate::base::nearest;

/// Collects bytes until a line is whole. Holds at most two limits' worth; a line that is too long, or
/// more input than that at once, spoils it for good.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    limit: usize,
    spoilt: bool,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `limit` bytes.
    pub fn new(limit: usize) -> LineBuffer {
        LineBuffer {
            bytes: Vec::new(),
            limit,
            spoilt: false,
        }
    }

    /// Takes bytes in. Whoever takes out all whole lines before feeding more, and feeds no more than
    /// the limit at once, loses none.
    pub fn feed(&mut self, bytes: &[u8]) {
        let room = (self.limit * 2).saturating_sub(self.bytes.len());
        self.spoilt |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The next whole line, without its newline.
    ///
    /// # Errors
    /// The answer to a line that is too long; from then on the same for ever.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, Response> {
        let end = memchr(b'\n', &self.bytes);
        if self.spoilt || end.unwrap_or(self.bytes.len()) > self.limit {
            self.spoilt = true;
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

/// The requests' names on the wire, for suggestions.
const COMMANDS: [&str; 13] = [
    "list", "status", "logs", "events", "start", "stop", "restart", "signal", "wait", "reload",
    "health", "shutdown", "version",
];

/// How much of a client's words an error repeats, in characters.
const REPEATED: usize = 64;

/// Reads a request.
///
/// # Errors
/// The answer to a line that is none.
pub fn parse_request(line: &[u8]) -> Result<Request, Response> {
    let example = || Some("send one JSON object a line, such as {\"command\":\"list\"}".to_owned());
    let text = std::str::from_utf8(line)
        .map_err(|_| refusal("the request is not UTF-8".into(), example()))?;
    let value: Value = serde_json::from_str(text)
        .map_err(|error| refusal(format!("the request is not JSON: {error}"), example()))?;
    match value.get("command") {
        Some(Value::String(name)) if COMMANDS.contains(&name.as_str()) => {}
        Some(Value::String(name)) => return Err(unknown_command(name)),
        Some(_) => {
            let message = "the request's \"command\" is not a string".into();
            return Err(refusal(message, example()));
        }
        None => {
            let message = "the request is not an object with a \"command\"".into();
            return Err(refusal(message, example()));
        }
    }
    serde_json::from_value(value).map_err(|error| {
        let why: String = error.to_string().chars().take(4 * REPEATED).collect();
        refusal(format!("the request is not understood: {why}"), None)
    })
}

/// How the daemon's longest answer begins.
const LISTING: &[u8] = b"{\"answer\":\"list\",";

/// Reads an answer.
///
/// # Errors
/// When it is none.
pub fn parse_response(line: &[u8]) -> serde_json::Result<Response> {
    /// Read as it comes; to find out which answer it is, serde would first copy all of it.
    #[derive(Deserialize)]
    struct Listing {
        services: Vec<ServiceStatus>,
    }
    if line.starts_with(LISTING) {
        let Listing { services } = serde_json::from_slice(line)?;
        return Ok(Response::List { services });
    }
    serde_json::from_slice(line)
}

fn unknown_command(name: &str) -> Response {
    let hint = match nearest(name, COMMANDS) {
        Some(known) => format!("did you mean {known:?}?"),
        None => format!("the commands are {}", COMMANDS.join(", ")),
    };
    let shown: String = name.chars().take(REPEATED).collect();
    refusal(format!("there is no command {shown:?}"), Some(hint))
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
            (br#"{"command":"lst"}"#, "there is no command \"lst\""),
            (br#"{"command":7}"#, "is not a string"),
            (b"[1]", "not an object with a \"command\""),
            (b"", "not JSON"),
            (br#"{"command":"status","service":7}"#, "not understood"),
            (br#"{"command":"list","x":1}"#, "unknown field `x`"),
        ] {
            let Err(Response::Error { message, .. }) = parse_request(line) else {
                unreachable!("{line:?} was taken")
            };
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn an_unknown_command_gets_a_suggestion() {
        let hint = |line: &[u8]| match parse_request(line) {
            Err(Response::Error { hint, .. }) => hint.unwrap_or_default(),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(hint(br#"{"command":"lst"}"#), "did you mean \"list\"?");
        assert!(hint(br#"{"command":"%"}"#).starts_with("the commands are list, status"));
    }

    #[test]
    fn every_request_is_known_by_its_name() {
        for command in super::COMMANDS {
            let line = format!("{{\"command\":\"{command}\",\"no such field\":1}}");
            let Err(Response::Error { message, .. }) = parse_request(line.as_bytes()) else {
                unreachable!("{command}")
            };
            assert!(!message.contains("unknown variant"), "{message}");
        }
    }

    #[test]
    fn an_error_repeats_little_of_what_was_sent() {
        let long = "x".repeat(60_000);
        for line in [
            format!("{{\"command\":\"{long}\"}}"),
            format!("{{\"command\":\"list\",\"{long}\":1}}"),
        ] {
            let Err(refusal) = parse_request(line.as_bytes()) else {
                unreachable!()
            };
            assert!(encode(&refusal).len() < 1000);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_panics(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut buffer = LineBuffer::new(100);
            for chunk in chunks {
                buffer.feed(&chunk);
                while let Ok(Some(line)) = buffer.next_line() {
                    prop_assert!(line.len() <= 100);
                    let _ = parse_request(&line);
                }
            }
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}\":,a-z0-9 ]{0,80}") {
            let _ = parse_request(text.as_bytes());
            let _ = parse_request(format!("{{\"command\":\"status\",{text}}}").as_bytes());
        }

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
