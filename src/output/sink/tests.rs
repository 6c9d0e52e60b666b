//! What is dropped is counted, and said when there is room again.

use super::*;
use crate::config::model::{LogFormat, Timestamps};
use crate::output::format::StreamKind;
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
    Sink::new(Some(layout), overflow, None, Recent::new(1000))
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
            sink.take(&mut stream, text.as_bytes(), stamp, &mut queue);
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
    assert_eq!(received + sink.dropped as usize, 3 * lines);
    sink.tell_dropped(stamp, &mut queue);
    let last = drained(&mut queue);
    let number = last.trim_start_matches("[web] ").trim_end();
    assert_eq!(
        number,
        crate::output::format::dropped(sink.dropped - told as u64)
    );
}

#[test]
fn a_long_line_that_does_not_fit_is_counted_once() {
    let (mut sink, mut queue) = (sink(Overflow::Drop), Queue::new());
    let mut stream = StreamText::new(WEB);
    let stamp = Stamp::default();
    queue.append(&vec![b'x'; HIGH_WATER]);
    let long = [vec![b'y'; 100_000], b"\n".to_vec()].concat();
    sink.take(&mut stream, &long, stamp, &mut queue);
    sink.take(&mut stream, b"short\n", stamp, &mut queue);
    assert_eq!(sink.dropped, 2);
    queue.consume(HIGH_WATER);
    sink.take(&mut stream, b"shown\n", stamp, &mut queue);
    assert_eq!(drained(&mut queue), "[web] 2 lines dropped\n[web] shown\n");
    assert!(!sink.owes_a_word());
}

#[test]
fn with_block_nothing_is_dropped() {
    let (mut sink, mut queue) = (sink(Overflow::Block), Queue::new());
    let mut stream = StreamText::new(WEB);
    queue.append(&vec![b'x'; HIGH_WATER]);
    sink.take(&mut stream, b"line\n", Stamp::default(), &mut queue);
    assert_eq!((sink.dropped, sink.waits()), (0, true));
    assert!(queue.front().ends_with(b"x[web] line\n"));
}

#[test]
fn a_file_gets_everything_whatever_standard_output_does() {
    let format = LogFormat::Plain;
    let layout = |prefix: &str| Layout::new(format, Timestamps::None, "web", prefix.into(), false);
    let file = FileText::new(layout(""), format);
    let mut sink = Sink::new(
        Some(layout("[web] ")),
        Overflow::Drop,
        Some(file),
        Recent::new(0),
    );
    let mut queue = Queue::new();
    queue.append(&vec![b'x'; HIGH_WATER]);
    let origin = Origin {
        stream: StreamKind::Stderr,
        pid: 7,
    };
    let mut stream = StreamText::new(origin);
    let text = sink.take(&mut stream, b"a\nb", Stamp::default(), &mut queue);
    assert_eq!(text, Some(&b"a\n"[..]));
    sink.written();
    let text = sink.flush(&mut stream, Mark::End, Stamp::default(), &mut queue);
    assert_eq!(text, Some(&b"b"[..]));
}
