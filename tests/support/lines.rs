//! What a daemon wrote, gathered line by line by a thread of its own.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The lines of one stream so far.
#[derive(Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<Gathered>, Condvar)>,
}

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads `stream` to its end in a thread.
    pub fn gather(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        lines.read_from(stream);
        lines
    }

    /// Begins to read; for a stream that was left alone so far.
    pub fn read_from(&self, stream: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            let mut reader = BufReader::with_capacity(1 << 16, stream);
            loop {
                let mut line = Vec::new();
                let ended = !matches!(reader.read_until(b'\n', &mut line), Ok(1..));
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                let (gathered, changed) = &*shared;
                let mut gathered = gathered.lock().unwrap();
                if ended {
                    gathered.ended = true;
                } else {
                    gathered
                        .lines
                        .push(String::from_utf8_lossy(&line).into_owned());
                }
                changed.notify_all();
                if ended {
                    return;
                }
            }
        });
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// All lines so far as one text, for messages.
    pub fn text(&self) -> String {
        self.all().join("\n")
    }

    /// Waits until some line contains `needle` and gives that line.
    pub fn wait_for(&self, needle: &str, patience: Duration) -> String {
        let found = self.wait_until(patience, |lines, _| {
            lines.iter().find(|line| line.contains(needle)).cloned()
        });
        found.unwrap_or_else(|| panic!("no line with {needle:?} in:\n{}", self.text()))
    }

    /// Waits until `count` lines contain `needle`.
    pub fn wait_for_count(&self, needle: &str, count: usize, patience: Duration) {
        // Each line is looked at once, however many come.
        let (mut next, mut seen) = (0, 0);
        let found = self.wait_until(patience, |lines, _| {
            seen += lines[next..].iter().filter(|l| l.contains(needle)).count();
            next = lines.len();
            (seen >= count).then_some(())
        });
        assert!(found.is_some(), "{seen} of {count} lines with {needle:?}");
    }

    /// How many lines contain `needle` so far.
    pub fn count(&self, needle: &str) -> usize {
        let (gathered, _) = &*self.shared;
        let gathered = gathered.lock().unwrap();
        gathered
            .lines
            .iter()
            .filter(|line| line.contains(needle))
            .count()
    }

    /// Waits until every writer of the stream is gone.
    pub fn wait_for_end(&self, patience: Duration) {
        let ended = self.wait_until(patience, |_, ended| ended.then_some(()));
        assert!(ended.is_some(), "the stream is still open");
    }

    fn wait_until<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&[String], bool) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let (gathered, changed) = &*self.shared;
        let mut gathered = gathered.lock().unwrap();
        loop {
            if let Some(found) = look(&gathered.lines, gathered.ended) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || gathered.ended {
                return None;
            }
            gathered = changed.wait_timeout(gathered, left).unwrap().0;
        }
    }
}

/// A line's service, whether it continues the line before, and its text.
fn parse(line: &str) -> Option<(&str, bool, &str)> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    match rest.as_bytes().first() {
        Some(b'+') => Some((name.trim_end(), true, &rest[1..])),
        Some(b' ') => Some((name.trim_end(), false, &rest[1..])),
        _ => None,
    }
}

/// What `service` wrote, without the prefix, the pieces of a split line put together again.
pub fn payload(lines: &[String], service: &str) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    for (continues, text) in pieces(lines, service) {
        match whole.last_mut() {
            Some(line) if continues => line.push_str(text),
            _ => whole.push(text.to_owned()),
        }
    }
    whole
}

/// What `service` wrote, piece by piece: whether it continues the one before, and the text.
pub fn pieces<'a>(lines: &'a [String], service: &str) -> Vec<(bool, &'a str)> {
    lines
        .iter()
        .filter_map(|line| parse(line))
        .filter(|(name, _, _)| *name == service)
        .map(|(_, continues, text)| (continues, text))
        .collect()
}
