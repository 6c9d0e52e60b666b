//! The control socket's protocol, as both its ends use it: one JSON object a line each way (`docs/PROTOCOL.md`). What
//! clients send is bounded, and whatever is wrong with it becomes one clear error.

use memchr::memchr;
use serde::Deserialize;
use serde_json::Value;

use crate::api::stream::Codec;
use crate::api::verbs::VERBS;
use crate::api::{journal, protocol};
use crate::base::{ServiceId, nearest};
use crate::control::message::{ErrorCode, MAX_REQUEST_BYTES, Request, Response, ServiceStatus};
use crate::output::feed;
use crate::output::format::json;
use crate::output::format::{Origin, Stamp};

/// The codec of one connection.
#[derive(Debug)]
pub struct JsonLine {
    lines: LineBuffer,
    /// What is before the text of a line: the same for all lines of one read.
    head: Vec<u8>,
    /// The read that it was made for.
    made_for: Option<(ServiceId, Stamp, Origin)>,
}

impl Default for JsonLine {
    fn default() -> JsonLine {
        JsonLine {
            lines: LineBuffer::new(MAX_REQUEST_BYTES),
            head: Vec::new(),
            made_for: None,
        }
    }
}

impl JsonLine {
    /// Takes in what a client sent: at most [`MAX_REQUEST_BYTES`] at once, and only where [`JsonLine::next_request`]
    /// has returned all requests before.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.lines.feed(bytes);
    }

    /// The next whole request.
    ///
    /// # Errors
    /// The answer to a line that is none; the connection is of no use after it.
    pub fn next_request(&mut self) -> Result<Option<Request>, Response> {
        let line = self.lines.next_line()?;
        line.map(|line| parse_request(&line)).transpose()
    }
}

impl Codec for JsonLine {
    fn line(&mut self, item: feed::Item<'_>, out: &mut Vec<u8>) {
        match item {
            feed::Item::Line(line) => {
                let (stamp, origin) = (line.stamp(), line.origin);
                let made_for = Some((line.service, stamp, origin));
                if self.made_for != made_for {
                    self.made_for = made_for;
                    self.head.clear();
                    json::head(&mut self.head, stamp, line.name, origin);
                }
                json::line(out, &self.head, line.piece);
            }
            feed::Item::Missing { name, lines, stamp } => json::missing(out, stamp, name, lines),
        }
    }

    fn event(&mut self, item: journal::Item<'_>, out: &mut Vec<u8>) {
        out.extend(encode(&protocol::event(item)));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend(encode(&Response::End {}));
        // It may be long until another one is needed.
        (self.head, self.made_for) = (Vec::new(), None);
    }
}

/// A message as a line.
pub fn encode<M: serde::Serialize>(message: &M) -> Vec<u8> {
    // The messages hold nothing that JSON cannot say; an empty line stands for the impossible failure.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

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
        Some(Value::String(name)) if is_verb(name) => {}
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

fn is_verb(name: &str) -> bool {
    VERBS.iter().any(|verb| verb.name == name)
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
    let names: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(known) => format!("did you mean {known:?}?"),
        None => format!("the commands are {}", names.join(", ")),
    };
    let shown: String = name.chars().take(REPEATED).collect();
    refusal(format!("there is no command {shown:?}"), Some(hint))
}

fn refusal(message: String, hint: Option<String>) -> Response {
    Response::Error {
        code: ErrorCode::BadRequest,
        message,
        hint,
    }
}

#[cfg(test)]
mod tests;
