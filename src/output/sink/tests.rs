//! What is dropped is counted, and said when there is room again.

use super::*;
use crate::config::model::{LogFormat, Timestamps};
use crate::output::file_text::FileText;
use crate::output::format::{Layout, StreamKind};
use crate::output::queue::HIGH_WATER;

const WEB: Origin = Origin {
    stream: StreamKind::Tty,
    pid: 7,
};

fn sink(overflow: Overflow) -> Sink {
    let layout = Layout::new(
        LogFormat::Plain,
        Timestamps::None,
        "web",
        "[web] ".into(),
        false,
    );
    let to = vec![Destination::Stdout(layout)];
    Sink::new(to, overflow, Recent::new(1000))
}

/// What is handed over for the file.
fn take(
    sink: &mut Sink,
    stream: &mut StreamText,
    bytes: &[u8],
    stamp: Stamp,
    queue: &mut Queue,
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut write = |kind, text: &[u8]| {
        assert_eq!(kind, Kind::File);
        file.extend_from_slice(text);
    };
    sink.take(stream, bytes, stamp, queue, &mut write);
    file
}

fn flush(sink: &mut Sink, stream: &mut StreamText, mark: Mark, queue: &mut Queue) -> Vec<u8> {
    let mut file = Vec::new();
    let mut write = |_, text: &[u8]| file.extend_from_slice(text);
    sink.flush(stream, mark, Stamp::default(), queue, &mut write);
    file
}

fn drained(queue: &mut Queue) -> String {
    let text = String::from_utf8_lossy(queue.front()).into_owned();
    queue.consume(text.len());
    text
}

#[test]
fn what_is_received_and_what_is_counted_make_the_whole() {
    let (mut sink, mut queue) = (sink(Overflow::Drop), Queue::new());
    let mut stream = StreamText::new(WEB);
    let stamp = Stamp::default();
    let lines = 3 * HIGH_WATER / 100;
    let (mut received, mut told) = (0, 0);
    for round in 0..3 {
        for line in 0..lines {
            let text = format!("{line:094}\n");
            take(&mut sink, &mut stream, text.as_bytes(), stamp, &mut queue);
        }
        assert!(queue.len() <= HIGH_WATER + 200);
        assert!(sink.owes_a_word(), "round {round}");
        for line in drained(&mut queue).lines() {
            match line.strip_suffix(" lines dropped") {
                Some(rest) => {
                    let number = rest.trim_start_matches("[web] ").replace(',', "");
                    told += number.parse::<usize>().unwrap_or(0);
                }
                None => received += 1,
            }
        }
    }
    assert!(told > 0);
    assert_eq!(received + sink.dropped() as usize, 3 * lines);
    sink.tell_dropped(stamp, &mut queue);
    let last = drained(&mut queue);
    let number = last.trim_start_matches("[web] ").trim_end();
    assert_eq!(
        number,
        crate::output::format::dropped(sink.dropped() - told as u64)
    );
}

#[test]
fn a_long_line_that_does_not_fit_is_counted_once() {
    let (mut sink, mut queue) = (sink(Overflow::Drop), Queue::new());
    let mut stream = StreamText::new(WEB);
    let stamp = Stamp::default();
    queue.append(&vec![b'x'; HIGH_WATER]);
    let long = [vec![b'y'; 100_000], b"\n".to_vec()].concat();
    take(&mut sink, &mut stream, &long, stamp, &mut queue);
    take(&mut sink, &mut stream, b"short\n", stamp, &mut queue);
    assert_eq!(sink.dropped(), 2);
    queue.consume(HIGH_WATER);
    take(&mut sink, &mut stream, b"shown\n", stamp, &mut queue);
    assert_eq!(drained(&mut queue), "[web] 2 lines dropped\n[web] shown\n");
    assert!(!sink.owes_a_word());
}

#[test]
fn with_block_nothing_is_dropped() {
    let (mut sink, mut queue) = (sink(Overflow::Block), Queue::new());
    let mut stream = StreamText::new(WEB);
    queue.append(&vec![b'x'; HIGH_WATER]);
    take(
        &mut sink,
        &mut stream,
        b"line\n",
        Stamp::default(),
        &mut queue,
    );
    assert_eq!((sink.dropped(), sink.waits()), (0, true));
    assert!(queue.front().ends_with(b"x[web] line\n"));
}

#[test]
fn a_file_gets_everything_whatever_standard_output_does() {
    let format = LogFormat::Plain;
    let layout = |prefix: &str| Layout::new(format, Timestamps::None, "web", prefix.into(), false);
    let file = FileText::new(layout(""), format);
    let to = vec![
        Destination::Stdout(layout("[web] ")),
        Destination::File(Box::new(file)),
    ];
    let mut sink = Sink::new(to, Overflow::Drop, Recent::new(0));
    let mut queue = Queue::new();
    queue.append(&vec![b'x'; HIGH_WATER]);
    let origin = Origin {
        stream: StreamKind::Stderr,
        pid: 7,
    };
    let mut stream = StreamText::new(origin);
    let text = take(
        &mut sink,
        &mut stream,
        b"a\nb",
        Stamp::default(),
        &mut queue,
    );
    assert_eq!(text, b"a\n");
    let text = flush(&mut sink, &mut stream, Mark::End, &mut queue);
    assert_eq!(text, b"b");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(32))]

    /// Whatever the reads and the pauses, the JSON of standard output and of the file is the text.
    #[test]
    fn valid_text_comes_out_of_json_as_it_went_in(
        text in "(\\PC{0,30}|\n|[\u{ac00}-\u{d7a3}\u{1f300}-\u{1f5ff}]{4000}){0,6}",
        cuts in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<bool>()), 0..20),
    ) {
        let json = || Layout::new(LogFormat::Json, Timestamps::None, "web", String::new(), false);
        let file = FileText::new(json(), LogFormat::Json);
        let to = vec![Destination::Stdout(json()), Destination::File(Box::new(file))];
        let mut sink = Sink::new(to, Overflow::Block, Recent::new(1000));
        let (mut queue, mut file, mut stream) = (Queue::new(), Vec::new(), StreamText::new(WEB));
        let mut at: Vec<_> = cuts.iter().map(|(cut, pause)| (cut.index(text.len() + 1), *pause)).collect();
        at.push((text.len(), false));
        at.sort_unstable();
        let (mut from, stamp) = (0, Stamp::default());
        for (to, pause) in at {
            let bytes = &text.as_bytes()[from..to];
            file.extend_from_slice(&take(&mut sink, &mut stream, bytes, stamp, &mut queue));
            if pause {
                file.extend_from_slice(&flush(&mut sink, &mut stream, Mark::Quiet, &mut queue));
            }
            from = to;
        }
        file.extend_from_slice(&flush(&mut sink, &mut stream, Mark::End, &mut queue));
        for written in [queue.front(), &file] {
            let mut lines: Vec<String> = Vec::new();
            for line in written.split_inclusive(|byte| *byte == b'\n') {
                let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
                proptest::prop_assert!(value["invalid_utf8"].is_null(), "{}", value);
                let text = value["line"].as_str().unwrap_or_default();
                match lines.last_mut() {
                    Some(last) if value["continued"] == true => last.push_str(text),
                    _ => lines.push(text.to_owned()),
                }
            }
            proptest::prop_assert_eq!(lines.join("\n"), text.strip_suffix('\n').unwrap_or(&text));
        }
    }
}
