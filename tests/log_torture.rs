//! Many services write numbered, checksummed lines as fast as they can, while they are killed and
//! restarted, their files rotate and the reader of standard output stalls. Each line is accounted for.
//!
//! GO_OVERLAY_TORTURE_SECONDS makes it longer; GO_OVERLAY_TORTURE_SEED repeats the choices of a run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::{Choices, Daemon, Launch, Stage, service, status_field, torture_time};

/// How long it lasts unless it is asked to last longer.
const SHORT: Duration = Duration::from_secs(5);

/// Lines the writer writes at a time; it notes how far it is after each such batch.
const BATCH: u64 = 50;

/// Writes batches of lines until it is told to end, and notes in a file of this run how many were taken.
/// Each line is `#RUN NUMBER FILLER SUM`; the sum is over all bytes before it.
const WRITER: &str = "use strict; use Time::HiRes;
my ($notes, $name) = @ARGV;
my $run = sprintf '%d-%d', $$, Time::HiRes::time * 1e6;
my $stop = 0;
$SIG{TERM} = sub { $stop = 1 };
open my $note, '>', \"$notes/$name.$run\" or die;
my $number = 0;
until ($stop || -e \"$notes/stop\") {
    my $batch = '';
    for (1 .. 50) {
        $number++;
        my $line = \"#$run $number \" . ('x' x (20 + $number * 7 % 90));
        $batch .= $line . ' ' . unpack('%32C*', $line) . \"\\n\";
    }
    while (length $batch) {
        my $taken = syswrite STDOUT, $batch;
        $batch = substr $batch, $taken if defined $taken;
        die $! if !defined $taken && !$!{EINTR};
    }
    sysseek $note, 0, 0;
    syswrite $note, sprintf '%012d', $number;
}
";

/// The line of this number.
fn expected(run: &str, number: u64) -> String {
    let mut line = format!(
        "#{run} {number} {}",
        "x".repeat(20 + (number * 7 % 90) as usize)
    );
    let sum: u64 = line.bytes().map(u64::from).sum();
    write!(line, " {sum}").unwrap();
    line
}

/// What was received of one service.
#[derive(Default)]
struct Received {
    /// The last piece, which may go on.
    open: Option<String>,
    run: String,
    /// The last number of each run, also of the present one.
    last: HashMap<String, u64>,
    /// Lines of each run that came whole, or cut by a kill.
    lines: HashMap<String, u64>,
    /// The last line was not whole: only another run may follow.
    cut: bool,
    dropped: u64,
    faults: Vec<String>,
}

impl Received {
    fn piece(&mut self, continues: bool, text: &str) {
        match &mut self.open {
            Some(open) if continues => open.push_str(text),
            _ => {
                self.finish();
                self.open = Some(text.to_owned());
            }
        }
    }

    fn finish(&mut self) {
        let Some(line) = self.open.take() else { return };
        if let Some(count) = line
            .strip_suffix(" lines dropped")
            .or(line.strip_suffix(" line dropped"))
        {
            self.dropped += count.replace(',', "").parse::<u64>().unwrap();
            // The rest of a line that had begun to be shown is among them.
            self.cut = false;
            return;
        }
        // In a file, where nothing comes between, a line that was cut is followed by the next run at once.
        for text in line.split_inclusive('#').collect::<Vec<_>>().windows(2) {
            self.line(&format!("#{}", text[1].trim_end_matches('#')));
        }
        if line.is_empty() {
            self.fault("an empty line".into());
        }
    }

    fn line(&mut self, text: &str) {
        let mut words = text[1..].split(' ');
        let run = words.next().unwrap_or_default().to_owned();
        let number = words.next().and_then(|word| word.parse().ok());
        let whole = number.is_some_and(|number| text == expected(&run, number));
        if !whole {
            // A process that was killed while it wrote; how much of the line there is nobody knows.
            self.cut = true;
            return;
        }
        let number = number.unwrap();
        let cut = std::mem::take(&mut self.cut);
        if run != self.run {
            if self.last.contains_key(&run) {
                self.fault(format!("run {run} comes again after {}", self.run));
            }
            self.run.clone_from(&run);
        } else if cut {
            self.fault(format!("a line before {number} of run {run} is damaged"));
        }
        let last = self.last.insert(run.clone(), number).unwrap_or(0);
        if number <= last {
            self.fault(format!("{number} of run {run} comes after {last}"));
        }
        *self.lines.entry(run).or_default() += 1;
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < 5 {
            self.faults.push(fault);
        }
    }

    /// What is wrong, where not every run came from its first line to the last that its writer noted, or
    /// to one of the next batch.
    fn wrong(&self, noted: &BTreeMap<String, u64>) -> Option<String> {
        if !self.faults.is_empty() {
            return Some(self.faults.join(", "));
        }
        let unknown = self.last.keys().find(|run| !noted.contains_key(*run));
        if let Some(run) = unknown {
            return Some(format!("nobody was run {run}"));
        }
        noted.iter().find_map(|(run, &count)| {
            let last = self.last.get(run).copied().unwrap_or(0);
            let lines = self.lines.get(run).copied().unwrap_or(0);
            if lines != last {
                return Some(format!("{lines} lines of run {run}, the last is {last}"));
            }
            let enough = (count..=count + BATCH).contains(&last);
            (!enough).then(|| format!("{last} lines of run {run}, which wrote {count}"))
        })
    }
}

/// What the writers noted: run and count of each service.
fn notes(folder: &Path) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut notes: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        if let Some((name, run)) = file.split_once('.') {
            let count = fs::read_to_string(&path).unwrap().parse().unwrap_or(0);
            notes
                .entry(name.to_owned())
                .or_default()
                .insert(run.to_owned(), count);
        }
    }
    notes
}

/// Reads standard output in a thread; while `stalled` is set it does not.
fn read_in_thread(
    output: File,
    stalled: &Arc<AtomicBool>,
) -> JoinHandle<HashMap<String, Received>> {
    let stalled = Arc::clone(stalled);
    std::thread::spawn(move || {
        let mut services: HashMap<String, Received> = HashMap::new();
        let mut reader = BufReader::with_capacity(1 << 16, output);
        let mut line = String::new();
        let mut lines = 0_u64;
        loop {
            lines += 1;
            while lines.is_multiple_of(64) && stalled.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            line.clear();
            if reader.read_line(&mut line).unwrap() == 0 {
                break;
            }
            let text = line.strip_suffix('\n').unwrap_or(&line);
            let (name, rest) = text.strip_prefix('[').unwrap().split_once(']').unwrap();
            let received = match services.get_mut(name.trim_end()) {
                Some(received) => received,
                None => services.entry(name.trim_end().to_owned()).or_default(),
            };
            received.piece(rest.starts_with('+'), &rest[1..]);
        }
        for received in services.values_mut() {
            received.finish();
        }
        services
    })
}

/// The services: every tenth also has a file that rotates, every fifth writes to pipes.
fn config(stage: &Stage, count: usize, more: &str) -> String {
    let writer = stage.file("writer.pl", WRITER);
    let notes = stage.open_folder("notes");
    let services = (0..count).map(|number| {
        let name = format!("s{number}");
        let mut lines =
            format!("restart = {{ policy = \"always\", delay = 0, jitter = 0 }}\n{more}");
        if number % 10 == 0 {
            let file = stage.at(&format!("{name}.log"));
            write!(lines, "log_file = \"{file}\"\n[services.log]\nmax_size = \"1MiB\"\nkeep = 1000\ncompress = false\n").unwrap();
        }
        if number % 5 == 1 {
            lines.push_str("tty = false\n");
        }
        service(&name, "/usr/bin/perl", &[&writer, &notes, &name], &lines)
    });
    services.collect()
}

/// Lets everything happen to the services for the time of the test; the largest the daemon was, in kB.
fn torture(
    daemon: &Daemon,
    stalled: &AtomicBool,
    count: u64,
    with_kills: bool,
    choices: &mut Choices,
) -> u64 {
    let until = Instant::now() + torture_time(SHORT);
    let mut stall_ends = Instant::now();
    let mut happened = [0_u32; 4];
    while Instant::now() < until {
        let name = format!("s{}", choices.below(count));
        let what = choices.below(100);
        match what {
            0..40 if with_kills => {
                if let Some(pid) = daemon.row(&name).pid() {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    happened[0] += 1;
                }
            }
            0..80 => {
                daemon.ask(json!({"command": "restart", "services": [name], "no_wait": true}));
                happened[1] += 1;
            }
            80..95 => {
                daemon.signal(Signal::SIGUSR2);
                happened[2] += 1;
            }
            _ => {
                stalled.store(true, Ordering::Relaxed);
                stall_ends = Instant::now() + Duration::from_millis(choices.below(400));
                happened[3] += 1;
            }
        }
        // Not a wait for anything: the pace at which things happen.
        std::thread::sleep(Duration::from_millis(choices.below(20)));
        if stall_ends <= Instant::now() {
            stalled.store(false, Ordering::Relaxed);
        }
    }
    stalled.store(false, Ordering::Relaxed);
    eprintln!(
        "kills {}, restarts {}, reopened {}, stalls {}",
        happened[0], happened[1], happened[2], happened[3]
    );
    status_field(daemon.pid(), "VmHWM").unwrap()
}

/// Everything of a file and those that were rotated away, the oldest first.
fn received_by_file(path: &Path) -> Received {
    let mut numbers: Vec<u32> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().path().display().to_string();
            name.strip_prefix(&format!("{}.", path.display()))?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    let old = numbers
        .iter()
        .rev()
        .map(|number| format!("{}.{number}", path.display()));
    let mut text = String::new();
    for file in old.chain([path.display().to_string()]) {
        File::open(file).unwrap().read_to_string(&mut text).unwrap();
    }
    let mut received = Received::default();
    for line in text.lines() {
        received.piece(false, line);
    }
    received.finish();
    received
}

/// What 100 services may cost beside the program itself: each twice its memory of recent lines and what
/// is read of it in one turn, and the queue.
const MOST_KB: u64 = 100 * (2 * 64 + 64) + 8 * 1024;

#[test]
fn with_block_no_line_is_lost_doubled_or_moved() {
    const COUNT: usize = 100;
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage)
        .config(config(&stage, COUNT, ""))
        .stalled()
        .start();
    let stalled = Arc::new(AtomicBool::new(false));
    let reader = read_in_thread(daemon.take_output(), &stalled);
    let mut choices = Choices::from_environment();
    let largest = torture(&daemon, &stalled, COUNT as u64, true, &mut choices);
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(Duration::from_secs(60)), 0);
    let services = reader.join().unwrap();

    let notes = notes(&stage.path("notes"));
    assert_eq!(notes.len(), COUNT);
    let mut lines = 0;
    for (name, noted) in &notes {
        assert_eq!(services[name].wrong(noted), None, "{name}");
        assert_eq!(services[name].dropped, 0);
        lines += services[name].lines.values().sum::<u64>();
    }
    for name in (0..COUNT).step_by(10).map(|number| format!("s{number}")) {
        let file = received_by_file(&stage.path(&format!("{name}.log")));
        assert_eq!(file.wrong(&notes[&name]), None, "file of {name}");
    }
    let runs: usize = notes.values().map(BTreeMap::len).sum();
    eprintln!("{lines} lines of {runs} runs, at most {largest} kB");
    assert!(runs > COUNT, "nobody was restarted");
    assert!(largest < MOST_KB, "{largest} kB");
}

#[test]
fn with_drop_what_was_received_and_what_was_counted_is_what_was_written() {
    const COUNT: usize = 20;
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage)
        .config(config(&stage, COUNT, "log_overflow = \"drop\"\n"))
        .stalled()
        .start();
    let stalled = Arc::new(AtomicBool::new(false));
    let reader = read_in_thread(daemon.take_output(), &stalled);
    let mut choices = Choices::from_environment();
    torture(&daemon, &stalled, COUNT as u64, false, &mut choices);
    // With a file to stop them everybody ends by himself after a whole batch, and is not started again.
    stage.file("notes/stop", "");
    daemon.cli_ok(&["stop", "--all"]);
    let counted: HashMap<String, u64> = (0..COUNT)
        .map(|number| {
            let name = format!("s{number}");
            let detail = daemon.ask(json!({"command": "status", "service": name}));
            let dropped = detail["dropped_lines"].as_u64();
            (name, dropped.unwrap_or_else(|| panic!("{detail}")))
        })
        .collect();
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(Duration::from_secs(60)), 0);
    let services = reader.join().unwrap();

    let mut all_dropped = 0;
    for (name, noted) in notes(&stage.path("notes")) {
        if name == "stop" {
            continue;
        }
        let received = &services[&name];
        assert!(received.faults.is_empty(), "{name}: {:?}", received.faults);
        assert_eq!(
            received.dropped, counted[&name],
            "{name}: in the log and by status"
        );
        let written: u64 = noted.values().sum();
        let lines: u64 = received.lines.values().sum();
        assert_eq!(
            lines + received.dropped,
            written,
            "{name}: {lines} received and {} dropped",
            received.dropped
        );
        all_dropped += received.dropped;
    }
    assert!(all_dropped > 0, "nothing was dropped");
    eprintln!("{all_dropped} lines dropped");
}

/// The test's own eye: it has to see each fault it is there for.
#[test]
fn a_lost_a_doubled_a_moved_and_a_damaged_line_are_seen() {
    let run = |numbers: &[u64]| {
        let mut received = Received::default();
        for &number in numbers {
            received.piece(false, &expected("1-1", number));
        }
        received.finish();
        let last = numbers.iter().copied().max().unwrap();
        received.wrong(&BTreeMap::from([("1-1".to_owned(), last)]))
    };
    assert_eq!(run(&[1, 2, 3]), None);
    assert_ne!(run(&[1, 3]), None, "lost");
    assert_ne!(run(&[1, 2, 2, 3]), None, "doubled");
    assert_ne!(run(&[1, 3, 2, 4]), None, "moved");
    let mut damaged = Received::default();
    damaged.piece(false, &expected("1-1", 1));
    damaged.piece(false, &expected("1-1", 2).replace("xx", "xy"));
    damaged.piece(false, &expected("1-1", 3));
    damaged.finish();
    assert_eq!(damaged.faults.len(), 1);
}
