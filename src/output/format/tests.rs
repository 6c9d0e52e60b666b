//! Lines as they are written.

use super::super::splitter::Splitter;
use super::*;

const STAMP: Stamp = Stamp {
    wall: 1_700_000_000_123_456_789,
    elapsed: 61_000_250_000,
};
const WEB: Origin = Origin {
    stream: StreamKind::Stderr,
    pid: 42,
};

fn written(mut layout: Layout, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let mut splitter = Splitter::new();
    layout.begin(STAMP, WEB, bytes);
    splitter.feed(bytes, &mut |piece| layout.write(piece, &mut out));
    splitter.flush(&mut |piece| layout.write(piece, &mut out));
    splitter.feed(b"rest\n", &mut |piece| layout.write(piece, &mut out));
    String::from_utf8_lossy(&out).into_owned()
}

fn plain(timestamps: Timestamps, screen: bool) -> Layout {
    Layout::new(LogFormat::Plain, timestamps, "web", "[web] ".into(), screen)
}

fn json() -> Layout {
    let prefix = String::new();
    Layout::new(LogFormat::Json, Timestamps::None, "web", prefix, false)
}

#[test]
fn a_plain_line_has_the_name_in_front_and_a_continuation_is_marked() {
    assert_eq!(
        written(plain(Timestamps::None, false), b"one\n\npart"),
        "[web] one\n[web] \n[web] part\n[web]+rest\n"
    );
}

#[test]
fn timestamps_come_first() {
    assert_eq!(
        written(plain(Timestamps::Rfc3339, false), b"one\n"),
        "2023-11-14T22:13:20.123456789Z [web] one\n2023-11-14T22:13:20.123456789Z [web] rest\n"
    );
    assert_eq!(
        written(plain(Timestamps::Elapsed, false), b"one\n"),
        "    61.000250 [web] one\n    61.000250 [web] rest\n"
    );
}

#[test]
fn json_is_one_object_a_line() {
    let text = written(json(), b"say \"hi\"\t\x1b[0m\n\xff\xfebad\npart");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(lines.len(), 4, "{text}");
    let expected = serde_json::json!({
        "time": "2023-11-14T22:13:20.123456789Z", "service": "web", "stream": "stderr", "pid": 42,
        "line": "say \"hi\"\t\u{1b}[0m"
    });
    assert_eq!(lines[0], expected);
    assert_eq!(lines[1]["line"], "\u{fffd}\u{fffd}bad");
    assert_eq!(lines[1]["invalid_utf8"], true);
    assert_eq!(lines[2]["line"], "part");
    assert_eq!(lines[3]["continued"], true);
}

#[test]
fn a_colour_that_is_left_on_ends_with_its_line() {
    for (line, expected) in [
        ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[31mred\x1b[m", "\x1b[31mred\x1b[m"),
        ("\x1b[0;31mred", "\x1b[0;31mred\x1b[0m"),
        ("\x1b[0;0mred", "\x1b[0;0mred"),
        ("\x1b[31mred\x1b[K", "\x1b[31mred\x1b[K\x1b[0m"),
        ("\x1b[31mred\x1b[m\x1b[K", "\x1b[31mred\x1b[m\x1b[K"),
        ("no colour \x1b[2J", "no colour \x1b[2J"),
        // These zeros are colours.
        ("\x1b[38;5;0mblack", "\x1b[38;5;0mblack\x1b[0m"),
        ("\x1b[1;48;2;0;0;0mblack", "\x1b[1;48;2;0;0;0mblack\x1b[0m"),
        ("\x1b[38;5;1;0mnone", "\x1b[38;5;1;0mnone"),
        ("\x1b[39;49;00mnone", "\x1b[39;49;00mnone"),
        ("\x1b[31mred\x1b[>4;0m", "\x1b[31mred\x1b[>4;0m\x1b[0m"),
    ] {
        let text = written(
            plain(Timestamps::None, false),
            format!("{line}\n").as_bytes(),
        );
        assert_eq!(text, format!("[web] {expected}\n[web] rest\n"));
    }
}

#[test]
fn bytes_pass_as_they_are_where_no_terminal_is_steered() {
    let text = written(plain(Timestamps::None, false), b"10%\r20%\x1b[2K\x1b[0m\n");
    assert!(text.starts_with("[web] 10%\r20%\x1b[2K\x1b[0m\n"));
    let text = written(plain(Timestamps::None, true), b"10%\r20%\n");
    assert!(text.starts_with("[web] 20%\n"));
}

#[test]
fn a_pause_with_nothing_to_be_seen_is_no_line_of_a_terminal() {
    for (bytes, expected) in [
        ("\x1b[?25h", "[web]+rest\n"),
        ("\x1b[?25h\n", "[web] \n[web] rest\n"),
    ] {
        assert_eq!(
            written(plain(Timestamps::None, true), bytes.as_bytes()),
            expected
        );
    }
}

#[test]
fn a_line_end_of_cr_lf_after_a_pause_adds_no_line_to_a_terminal() {
    let mut layout = plain(Timestamps::None, true);
    let (mut splitter, mut out) = (Splitter::new(), Vec::new());
    for bytes in [&b"name: "[..], b"\r\n", b"next\r\n"] {
        layout.begin(STAMP, WEB, bytes);
        splitter.feed(bytes, &mut |piece| layout.write(piece, &mut out));
        splitter.pause(&mut |piece| layout.write(piece, &mut out));
    }
    assert_eq!(out, b"[web] name: \n[web] next\n");
}

#[test]
fn a_sequence_that_pauses_steers_no_terminal_and_leaves_no_text() {
    for (first, rest) in [
        ("one \x1b[3", "1mtwo\x1b[0m\n"),
        ("one \x1b]0;ti", "tle\x07two\n"),
        ("one \x1b]0;title\x1b", "\\two\n"),
    ] {
        let mut layout = plain(Timestamps::None, true);
        let (mut splitter, mut out) = (Splitter::new(), Vec::new());
        for text in [first, rest] {
            layout.begin(STAMP, WEB, text.as_bytes());
            splitter.feed(text.as_bytes(), &mut |piece| layout.write(piece, &mut out));
            splitter.pause(&mut |piece| layout.write(piece, &mut out));
        }
        let out = String::from_utf8_lossy(&out)
            .replace("\x1b[31m", "")
            .replace("\x1b[0m", "");
        assert_eq!(out, "[web] one \n[web]+two\n", "{first:?}");
    }
}

#[test]
fn what_was_dropped_is_said_in_the_format() {
    let said = |mut layout: Layout| {
        let mut out = Vec::new();
        layout.write_dropped(1234, STAMP, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    assert_eq!(
        said(plain(Timestamps::None, false)),
        "[web] 1,234 lines dropped\n"
    );
    let value: serde_json::Value = serde_json::from_str(&said(json())).unwrap_or_default();
    assert_eq!(value["dropped"], 1234);
    assert_eq!(
        (dropped(1), dropped(1_000_000)),
        ("1 line dropped".into(), "1,000,000 lines dropped".into())
    );
}
