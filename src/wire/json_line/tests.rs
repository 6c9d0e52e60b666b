//! What clients send, and what they get for nonsense.

use proptest::prelude::*;

use super::{LineBuffer, encode, parse_request};
use crate::api::verbs::VERBS;
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
    for verb in VERBS {
        let command = verb.name;
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
