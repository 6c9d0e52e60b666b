//! What stands on standard output can be put together again: pieces marked with `+` continue the piece
//! before them, and the result is what the service wrote, to the byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::fs;

use go_overlay::config::model::{LogFormat, Timestamps};
use go_overlay::output::format::{Layout, Origin, Stamp, StreamKind};
use go_overlay::output::prefix::Prefixer;
use go_overlay::output::splitter::{MAX_LINE, Splitter};
use nix::sys::signal::Signal;
use proptest::prelude::*;
use support::{Launch, PATIENCE, Stage, service, until};

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
            splitter.pause(&mut |piece| layout.write(piece, &mut out));
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

/// Writes a line of several pieces, one that pauses in each of its characters, and one that ends in a character.
const KOREAN: &str = r"import os, time
os.write(1, ('x' + '\ud55c\uae00\U0001f600' * 9000 + '\n').encode())
for byte in 'a\u00e4\ud55c\U0001f600'.encode():
    os.write(1, bytes([byte])); time.sleep(0.25)
os.write(1, b'\n')
os.write(1, '\ud55c'.encode()[:2])
";

/// The lines of these objects, pieces joined, and how many are marked as invalid.
fn joined(objects: &str, name: &str) -> (Vec<String>, usize) {
    let (mut lines, mut invalid): (Vec<String>, _) = (Vec::new(), 0);
    for line in objects.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("an object");
        if value["service"] != name {
            continue;
        }
        invalid += usize::from(value["invalid_utf8"] == true);
        let text = value["line"].as_str().expect("a line");
        match lines.last_mut() {
            Some(last) if value["continued"] == true => last.push_str(text),
            _ => lines.push(text.to_owned()),
        }
    }
    (lines, invalid)
}

#[test]
fn valid_text_is_valid_in_standard_output_in_the_file_and_in_logs() {
    let python = need!("python3");
    let stage = Stage::new();
    let program = stage.file("korean.py", KOREAN);
    let mut config = "[log]\nformat = \"json\"\n\n".to_owned();
    for (name, tty) in [("terminal", true), ("pipe", false)] {
        let file = stage.at(name);
        let more = format!("tty = {tty}\nlog_file = \"{file}\"\nlog_buffer = \"1MB\"");
        config += &service(name, &python, &[&program], &more);
    }
    let mut daemon = Launch::on(&stage).config(config).start();
    let expected = [
        "x".to_owned() + &"\u{d55c}\u{ae00}\u{1f600}".repeat(9000),
        "a\u{e4}\u{d55c}\u{1f600}".to_owned(),
        "\u{fffd}".to_owned(),
    ];
    for name in ["terminal", "pipe"] {
        daemon.wait_state(name, "STOPPED");
        let logs = daemon.cli_ok(&["logs", "--json", name]);
        let file = until("the last line in the file", PATIENCE, || {
            let text = fs::read_to_string(stage.path(name)).ok()?;
            let text = Some(text).filter(|text| text.ends_with('\n'))?;
            (joined(&text, name).0.len() == expected.len()).then_some(text)
        });
        let out = until("the last line", PATIENCE, || {
            let text = daemon.out.text();
            (joined(&text, name).0.len() == expected.len()).then_some(text)
        });
        for text in [logs, file, out] {
            let (lines, invalid) = joined(&text, name);
            assert!(lines == expected, "{name}: {text}");
            // The character that is not completed, and nothing else.
            assert_eq!(invalid, 1, "{name}");
        }
    }
    daemon.shut_down();
}

#[test]
fn each_packet_of_a_pipe_in_packet_mode_is_read() {
    let perl = need!("perl");
    let stage = Stage::new();
    let (go, done) = (stage.at("go"), stage.at("done"));
    let script = format!(
        "use Fcntl; fcntl(STDOUT, F_SETFL, O_WRONLY | Fcntl::O_DIRECT()) or die; syswrite STDOUT, \"begun\\n\";
         select(undef, undef, undef, 0.01) until -e '{go}';
         syswrite STDOUT, \"packet $_\\n\" for 1..12; open my $f, '>', '{done}'; close $f; sleep 1000"
    );
    let config = service("web", &perl, &["-e", &script], "tty = false");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("begun", PATIENCE);
    // The daemon finds all packets at once.
    daemon.signal(Signal::SIGSTOP);
    stage.file("go", "");
    until("the packets", PATIENCE, || {
        stage.path("done").exists().then_some(())
    });
    daemon.signal(Signal::SIGCONT);
    daemon.out.wait_for_count("packet", 12, PATIENCE);
    daemon.shut_down();
}

#[test]
fn an_output_that_is_cut_off_is_reported_and_its_last_line_is_shown() {
    let stage = Stage::new();
    // Each run leaves a process behind that holds its output open.
    let script = format!(
        "n=$(cat {0} 2>/dev/null || echo 0); echo $((n+1)) >{0}; printf \"part $n\"; setsid sleep 1000 & sleep 0.2; exit 1",
        stage.at("runs")
    );
    let more = "tty = false\nrestart = { policy = \"on-failure\", delay = \"10ms\", max_delay = \"10ms\" }";
    let config = support::shell("web", &script, more);
    let mut daemon = Launch::on(&stage).config(config).pid_one().start();
    daemon
        .err
        .wait_for("what is written to this one is lost", PATIENCE);
    daemon.out.wait_for("part 0", PATIENCE);
    daemon.shut_down();
}
