//! The control socket: any bytes in any portions are the same lines, each line is a request or one clear error,
//! and every message can be said again.

use go_overlay::base::terminal;
use go_overlay::control::message::{ErrorCode, EventRecord, LogLine, Request, Response};
use go_overlay::render::{self, Style};
use go_overlay::wire::json_line::{LineBuffer, encode, parse_request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cursor::{Cursor, portions};
use super::steers_nothing;

/// The longest refusal: it repeats little of what was sent.
const MAX_REFUSAL: usize = 2000;

pub fn run(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let limit = (cursor.below(16) + 1) * (cursor.below(16) + 1) * 16;
    let sizes = cursor.take(2);
    let stream = cursor.rest();
    let (lines, spoilt) = split(stream, limit);
    assert_eq!(
        read(&portions(stream, sizes, limit), limit),
        (lines, spoilt)
    );
    for line in stream.split(|byte| *byte == b'\n') {
        request(line);
        answer(line);
    }
}

/// The lines of a stream, and whether one of them is longer than the limit, without any portions.
fn split(stream: &[u8], limit: usize) -> (Vec<Vec<u8>>, bool) {
    let mut lines = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        if end > limit {
            return (lines, true);
        }
        lines.push(rest[..end].to_vec());
        rest = &rest[end + 1..];
    }
    (lines, rest.len() > limit)
}

/// The same by a buffer that is used as the daemon uses it.
fn read(portions: &[&[u8]], limit: usize) -> (Vec<Vec<u8>>, bool) {
    let mut buffer = LineBuffer::new(limit);
    let mut lines = Vec::new();
    for portion in portions {
        buffer.feed(portion);
        loop {
            match buffer.next_line() {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(refusal) => {
                    is_clear(&refusal);
                    buffer.feed(b"\n");
                    assert!(buffer.next_line().is_err(), "a spoilt stream goes on");
                    return (lines, true);
                }
            }
        }
    }
    (lines, false)
}

fn request(line: &[u8]) {
    match parse_request(line) {
        Ok(request) => assert_eq!(said_again(&request), Ok(request)),
        Err(refusal) => is_clear(&refusal),
    }
}

fn said_again(request: &Request) -> Result<Request, Response> {
    let line = encode(request);
    let (end, text) = line.split_last().unwrap();
    assert!(*end == b'\n' && !text.contains(end), "not one line");
    parse_request(text)
}

fn is_clear(refusal: &Response) {
    let Response::Error { code, message, .. } = refusal else {
        panic!("refused with {refusal:?}");
    };
    assert_eq!(*code, ErrorCode::BadRequest);
    assert!(!message.is_empty() && encode(refusal).len() <= MAX_REFUSAL);
    comes_back(refusal);
}

/// What the command line reads and shows, of a daemon that may mean ill.
fn answer(line: &[u8]) {
    if let Some(response) = message::<Response>(line) {
        steers_nothing(&shown(&response));
    }
    if let Some(record) = message::<EventRecord>(line) {
        let style = |color| Style {
            color,
            width: Some(40),
        };
        steers_nothing(&render::event(&record, style(false)));
        render::event(&record, style(true));
    }
    message::<LogLine>(line);
    if let Ok(value) = serde_json::from_slice::<Value>(line) {
        let text = String::from_utf8_lossy(line);
        let json = terminal::json(&text);
        // White space between tokens stays, a carriage return among it.
        steers_nothing(&json.replace(['\r', '\t'], " "));
        let again: Value = serde_json::from_str(&json).unwrap();
        assert!(is_same(&value, &again), "{value} became {again}");
    }
    let text = String::from_utf8_lossy(line);
    let plain = terminal::plain(&text);
    assert!(!plain.contains('\n'), "not one line: {plain:?}");
    steers_nothing(&plain);
}

/// What a person sees of an answer, without colours.
fn shown(response: &Response) -> String {
    let style = Style {
        color: false,
        width: Some(60),
    };
    match response {
        Response::List { services } => render::list(services, style),
        Response::System(status) => render::system(status),
        Response::Service(detail) => render::service(detail, style),
        Response::Outcome { services, .. } => render::outcomes(services, style),
        Response::Health { healthy, reasons } => render::health(*healthy, reasons, style),
        Response::Reload { applied, plan } => render::reload(*applied, plan, style),
        Response::Logs { .. }
        | Response::Events {}
        | Response::End {}
        | Response::Done { .. }
        | Response::Version { .. }
        | Response::Error { .. } => String::new(),
    }
}

fn message<M: Serialize + DeserializeOwned>(line: &[u8]) -> Option<M> {
    let message = serde_json::from_slice(line).ok()?;
    comes_back(&message);
    Some(message)
}

/// A message that is written, read and written again says the same.
fn comes_back<M: Serialize + DeserializeOwned>(message: &M) {
    let line = encode(message);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let again: M = serde_json::from_slice(&line).unwrap();
    let value = |message: &M| serde_json::to_value(message).unwrap();
    let (first, second) = (value(message), value(&again));
    assert!(is_same(&first, &second), "{first} became {second}");
}

/// Equal, but for the last digits of a fraction: reading is not exact there.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap_or(f64::NAN));
            (one - other).abs() <= one.abs() * 1e-12
        }
        (Value::Array(one), Value::Array(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let equal = |(key, value)| other.get(key).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(equal)
        }
        _ => one == other,
    }
}
