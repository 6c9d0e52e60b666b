//! The log path as text: bytes to lines, lines to standard output, to a file and to the memory, and out of the
//! memory again. No byte is lost, whatever the portions they come in.

use go_overlay::api::stream::Codec;
use go_overlay::base::ServiceId;
use go_overlay::config::model::{LogFormat, Overflow, Timestamps};
use go_overlay::control::message::LogLine;
use go_overlay::output::destination::Destination;
use go_overlay::output::feed::{Feed, Filter};
use go_overlay::output::file_text::FileText;
use go_overlay::output::format::{Layout, Origin, Stamp, StreamKind};
use go_overlay::output::prefix::Prefixer;
use go_overlay::output::queue::Queue;
use go_overlay::output::recent::{Mark, Recent};
use go_overlay::output::sink::{Sink, StreamText};
use go_overlay::output::splitter::{MAX_LINE, Piece, Splitter};
use go_overlay::wire::json_line::JsonLine;

use super::cursor::{Cursor, portions};

/// What a stream reads at once.
const READ: usize = 64 * 1024;

/// Enough for lines of several pieces.
const MAX_OUTPUT: usize = 2 * MAX_LINE;

const ORIGIN: Origin = Origin {
    stream: StreamKind::Tty,
    pid: 7,
};

pub fn run(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let settings = Settings::new(&mut cursor);
    let sizes = cursor.take(3);
    let output = output(&mut cursor);
    let portions = portions(&output, sizes, READ);
    pieces(&output, &portions);
    texts(&settings, &output, &portions);
    json(&output, &portions);
    memory(&settings, &output, &portions);
}

/// The bytes as they are, but for 0xfe: it repeats the byte behind it, so that small inputs make long lines.
fn output(cursor: &mut Cursor<'_>) -> Vec<u8> {
    let mut output = Vec::new();
    while !cursor.is_at_end() && output.len() < MAX_OUTPUT {
        match cursor.byte() {
            0xfe => {
                let (times, byte) = (usize::from(cursor.byte()) * 129, cursor.byte());
                output.resize(output.len() + times, byte);
            }
            byte => output.push(byte),
        }
    }
    output
}

struct Settings {
    format: LogFormat,
    timestamps: Timestamps,
    overflow: Overflow,
    prefix: String,
    screen: bool,
    stream: StreamKind,
    buffer: usize,
}

impl Settings {
    fn new(cursor: &mut Cursor<'_>) -> Settings {
        let prefixer = Prefixer::new(cursor.below(8), cursor.one_in(2));
        Settings {
            format: cursor.pick(&[LogFormat::Plain, LogFormat::Json]),
            timestamps: cursor.pick(&[Timestamps::None, Timestamps::Rfc3339, Timestamps::Elapsed]),
            overflow: cursor.pick(&[Overflow::Block, Overflow::Drop]),
            prefix: cursor.pick(&[String::new(), prefixer.prefix("web")]),
            screen: cursor.one_in(2),
            stream: cursor.pick(&[StreamKind::Tty, StreamKind::Stdout, StreamKind::Stderr]),
            buffer: cursor.pick(&[0, 300, 4096, 1 << 20]),
        }
    }

    fn sink(&self) -> Sink {
        let layout = |prefix: &str, screen| {
            Layout::new(self.format, self.timestamps, "web", prefix.into(), screen)
        };
        let file = FileText::new(layout("", false), self.format);
        let stdout = layout(&self.prefix, self.screen);
        let to = vec![
            Destination::Stdout(stdout),
            Destination::File(Box::new(file)),
        ];
        Sink::new(to, self.overflow, Recent::new(self.buffer))
    }
}

/// A piece by itself.
type Owned = (Vec<u8>, bool, bool);

fn owned(piece: Piece<'_>) -> Owned {
    let text = [piece.head, piece.tail].concat();
    (text, piece.starts_line, piece.ends_line)
}

fn pieces_of(portions: &[&[u8]], pauses: bool) -> Vec<Owned> {
    let mut splitter = Splitter::new();
    let mut pieces = Vec::new();
    for portion in portions {
        splitter.feed(portion, &mut |piece| pieces.push(owned(piece)));
        if pauses {
            splitter.pause(&mut |piece| pieces.push(owned(piece)));
        }
    }
    splitter.flush(&mut |piece| pieces.push(owned(piece)));
    pieces
}

/// Every byte comes out once and in its place, the same in any portions; a pause only cuts.
fn pieces(output: &[u8], portions: &[&[u8]]) {
    let whole = pieces_of(&[output], false);
    assert!(whole == pieces_of(portions, false), "portions matter");
    for pieces in [whole, pieces_of(portions, true)] {
        let mut bytes = Vec::new();
        let mut begins = true;
        for (text, starts_line, ends_line) in &pieces {
            assert!(text.len() <= MAX_LINE && *starts_line == begins);
            bytes.extend_from_slice(text);
            bytes.extend(ends_line.then_some(b'\n'));
            begins = *ends_line;
        }
        assert!(bytes == output, "bytes are lost");
    }
}

/// What one service's sink makes of these reads: for standard output, for the file.
fn written(settings: &Settings, reads: &[&[u8]]) -> (Vec<u8>, Vec<u8>, u64) {
    let stamp = Stamp {
        wall: 1_700_000_000_123_456_789,
        elapsed: 1_234_567,
    };
    let origin = Origin {
        stream: settings.stream,
        ..ORIGIN
    };
    let (mut sink, mut queue, mut file) = (settings.sink(), Queue::new(), Vec::new());
    let mut stream = StreamText::new(origin);
    let mut write = |_, text: &[u8]| file.extend_from_slice(text);
    for bytes in reads {
        sink.take(&mut stream, bytes, stamp, &mut queue, &mut write);
    }
    sink.flush(&mut stream, Mark::End, stamp, &mut queue, &mut write);
    sink.tell_dropped(stamp, &mut queue);
    assert!(sink.recent.held() <= 2 * settings.buffer + 64);
    (queue.front().to_vec(), file, sink.dropped())
}

/// A sink writes the same in any portions, and where it promises the bytes, the bytes.
fn texts(settings: &Settings, output: &[u8], portions: &[&[u8]]) {
    let (stdout, file, dropped) = written(settings, &[output]);
    let again = written(settings, portions);
    assert!(again.0 == stdout, "standard output depends on the portions");
    assert!(again.1 == file, "the file depends on the portions");
    assert!(again.2 == dropped, "drops depend on the portions");
    let is_bare = settings.format == LogFormat::Plain && settings.timestamps == Timestamps::None;
    if is_bare {
        // A last line without an end stays open in a file.
        assert!(file == output, "the file is not what was written");
    }
    let is_plain = is_bare && settings.prefix.is_empty() && !settings.screen;
    if is_plain && dropped == 0 && !output.contains(&0x1b) {
        let lines = output.split(|byte| *byte == b'\n');
        if lines.clone().all(|line| line.len() <= MAX_LINE) {
            assert!(stdout.starts_with(output) && stdout.len() <= output.len() + 1);
        }
    }
    if settings.screen && settings.format == LogFormat::Plain {
        let steers = |byte: &u8| *byte < 0x20 && !b"\n\t\x1b".contains(byte) || *byte == 0x7f;
        assert!(!stdout.iter().any(steers), "it steers the terminal");
    }
}

/// Each line of the `json` format is an object that says the piece.
fn json(output: &[u8], portions: &[&[u8]]) {
    let mut layout = Layout::new(
        LogFormat::Json,
        Timestamps::None,
        "web",
        String::new(),
        false,
    );
    layout.begin(Stamp::default(), ORIGIN, output);
    let mut text = Vec::new();
    let pieces = pieces_of(portions, true);
    let shown: Vec<&Owned> = pieces
        .iter()
        .filter(|(text, starts_line, _)| *starts_line || !text.is_empty())
        .collect();
    let mut splitter = Splitter::new();
    for portion in portions {
        splitter.feed(portion, &mut |piece| layout.write(piece, &mut text));
        splitter.pause(&mut |piece| layout.write(piece, &mut text));
    }
    splitter.flush(&mut |piece| layout.write(piece, &mut text));
    let lines = objects(&text);
    is_the_text(output, &lines);
    assert_eq!(lines.len(), shown.len());
    for (line, (text, starts_line, _)) in lines.iter().zip(shown) {
        assert_eq!(line.line, String::from_utf8_lossy(text));
        assert_eq!(line.invalid_utf8, std::str::from_utf8(text).is_err());
        assert_eq!((line.continued, line.pid), (!starts_line, Some(ORIGIN.pid)));
    }
}

/// Valid text comes out as it went in, wherever it is cut.
fn is_the_text(output: &[u8], lines: &[LogLine]) {
    let Ok(text) = std::str::from_utf8(output) else {
        return;
    };
    assert!(lines.iter().all(|line| !line.invalid_utf8), "{lines:?}");
    let mut whole = String::new();
    for (index, line) in lines.iter().enumerate() {
        let begins = index > 0 && !line.continued;
        whole.extend(begins.then_some('\n'));
        whole.push_str(&line.line);
    }
    assert!(whole == text.strip_suffix('\n').unwrap_or(text));
}

fn objects(text: &[u8]) -> Vec<LogLine> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// What is remembered is read as the lines it was; what did not fit is counted.
fn memory(settings: &Settings, output: &[u8], portions: &[&[u8]]) {
    let mut recent = Recent::new(settings.buffer);
    recent.count_lines(true);
    let mut behind = Vec::new();
    let mut follower = feed(&recent, None, true);
    for (index, portion) in portions.iter().enumerate() {
        recent.push(at(index), ORIGIN, portion);
        assert!(recent.held() <= 2 * settings.buffer + 64, "memory grows");
        if index % 5 == 4 {
            read(&mut follower, &recent, &mut behind);
        }
    }
    recent.mark(at(portions.len()), ORIGIN, Mark::End);
    read(&mut follower, &recent, &mut behind);
    let followed = objects(&behind);
    let whole = pieces_of(&[output], false);
    let begun = whole
        .iter()
        .filter(|(_, starts_line, _)| *starts_line)
        .count() as u64;
    let lost: u64 = followed.iter().filter_map(|line| line.dropped).sum();
    assert!(lost <= begun, "{lost} lines of {begun} are missing");

    let mut all = Vec::new();
    read(&mut feed(&recent, None, false), &recent, &mut all);
    let all = objects(&all);
    let mut last = Vec::new();
    read(&mut feed(&recent, Some(2), false), &recent, &mut last);
    assert_eq!(objects(&last), all[all.len().saturating_sub(2)..]);
    let texts = |lines: &[LogLine]| -> Vec<String> {
        let said = lines.iter().filter(|line| line.dropped.is_none());
        said.map(|line| line.line.clone()).collect()
    };
    let shown = whole
        .iter()
        .filter(|(text, starts_line, _)| *starts_line || !text.is_empty())
        .map(|(text, _, _)| String::from_utf8_lossy(text).into_owned());
    let shown: Vec<String> = shown.collect();
    if settings.buffer > 4 * MAX_OUTPUT {
        is_the_text(output, &all);
        is_the_text(output, &followed);
        assert_eq!((texts(&all), lost), (shown.clone(), 0));
        assert_eq!(texts(&followed), shown);
    } else if output
        .split(|byte| *byte == b'\n')
        .all(|line| line.len() <= MAX_LINE)
    {
        // The newest lines are there, whole ones only.
        assert!(shown.ends_with(&texts(&all)), "{all:?}");
    }
}

fn at(index: usize) -> Stamp {
    Stamp {
        wall: index as u64,
        elapsed: 0,
    }
}

fn feed(recent: &Recent, lines: Option<u64>, follow: bool) -> Feed {
    let services = [(ServiceId::new(0, 0), "web", recent)];
    Feed::new(services.into_iter(), Filter::default(), lines, follow)
}

fn read(feed: &mut Feed, recent: &Recent, out: &mut Vec<u8>) {
    let mut codec = JsonLine::default();
    while feed.read(|_| Some(recent), |item, out| codec.line(item, out), out) {}
}
