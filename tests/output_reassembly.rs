//! What stands on standard output can be put together again: pieces marked with `+` continue the piece
//! before them, and the result is what the service wrote, to the byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use go_overlay::config::model::{LogFormat, Timestamps};
use go_overlay::output::format::{Layout, Origin, Stamp, StreamKind};
use go_overlay::output::prefix::Prefixer;
use go_overlay::output::splitter::{MAX_LINE, Splitter};
use proptest::prelude::*;

/// The bytes in chunks of these sizes, flushed after those that say so, as they are shown.
fn shown(bytes: &[u8], chunks: &[(usize, bool)]) -> Vec<u8> {
    let mut layout = Layout::new(
        LogFormat::Plain,
        Timestamps::None,
        "web",
        Prefixer::new(5, false).prefix("web"),
        false,
    );
    let origin = Origin {
        stream: StreamKind::Tty,
        pid: 1,
    };
    let (mut splitter, mut out) = (Splitter::new(), Vec::new());
    let mut rest = bytes;
    for &(size, flush) in chunks.iter().cycle() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        layout.begin(Stamp::default(), origin, chunk);
        splitter.feed(chunk, &mut |piece| layout.write(piece, &mut out));
        if flush {
            splitter.flush(&mut |piece| layout.write(piece, &mut out));
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    splitter.flush(&mut |piece| layout.write(piece, &mut out));
    out
}

/// The lines as the service wrote them.
fn reassembled(shown: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let Some(shown) = shown.strip_suffix(b"\n") else {
        assert!(shown.is_empty());
        return lines;
    };
    for row in shown.split(|byte| *byte == b'\n') {
        let text = row.strip_prefix(b"[web  ]").expect("a name in front");
        assert!(text.len() <= MAX_LINE + 1);
        match text.split_first().expect("a mark") {
            (b' ', text) => lines.push(text.to_vec()),
            (b'+', text) => lines.last_mut().expect("a line before").extend(text),
            (mark, _) => panic!("the mark {mark}"),
        }
    }
    lines
}

fn written(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

/// Lines of any bytes but for colours, some of them longer than a piece.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = || any::<u8>().prop_map(|byte| if byte == 0x1b { b'e' } else { byte });
    let short = proptest::collection::vec(byte(), 0..60);
    let long = (byte(), 0..3 * MAX_LINE).prop_map(|(byte, length)| vec![byte; length]);
    let edge = (MAX_LINE - 1..=MAX_LINE + 1).prop_map(|length| vec![b'e'; length]);
    let newline = Just(b"\n".to_vec());
    let parts = prop_oneof![4 => short, 1 => long, 1 => edge, 3 => newline];
    proptest::collection::vec(parts, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_was_written_can_be_put_together_again(
        bytes in bytes(),
        chunks in proptest::collection::vec((prop_oneof![1..40usize, 1..20_000usize], any::<bool>()), 1..12),
    ) {
        prop_assert_eq!(reassembled(&shown(&bytes, &chunks)), written(&bytes));
    }
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    let out = shown(b"caf\xe9 \xff\0\x1b[31m\r\n", &[(3, false)]);
    // The one thing that is added: a colour ends with the line that left it on.
    assert_eq!(out, b"[web  ] caf\xe9 \xff\0\x1b[31m\r\x1b[0m\n");
}
