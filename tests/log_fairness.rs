//! One service floods the log; its quiet neighbours, clients and signals hardly notice.
//!
//! What else the machine does must not count: times that the daemon, its services and this test spend waiting for a
//! processor are left out ([`Scheduled`]). The rest of the noise can only add: the best of a few rounds is what the
//! daemon itself takes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{Daemon, Launch, PATIENCE, Scheduled, Stage, service, until};

const BOUND: Duration = Duration::from_millis(50);
const QUIET: usize = 20;

/// How many lines of the quiet services are timed in a round.
const LINES: usize = 1000;

/// How often it is tried before the daemon is to blame.
const ROUNDS: usize = 5;

/// One test at a time: each of them takes all there is.
static ALONE: Mutex<()> = Mutex::new(());

/// As much as fits, for ever.
const FLOOD: &str = "my $block = ('x' x 99 . \"\\n\") x 600; while (1) { syswrite STDOUT, $block }";

/// Now and then a line: how long the daemon ran and waited for a processor so far, and the time. Told to end, the same
/// into a file, where the time is without what this process waited for a processor since its last line.
const CLOCK: &str = "use Time::HiRes 'time'; $| = 1;
sub scheduled { open my $f, '<', \"/proc/$_[0]/schedstat\" or return (0, 0); map { $_ / 1e9 } (split / /, <$f>)[0, 1] }
my $daemon = getppid; my $waited = 0;
$SIG{TERM} = sub {
    my $heard = time - ((scheduled($$))[1] - $waited);
    open my $f, '>', \"$ARGV[0].tmp\"; printf $f '%.6f %.6f %.6f', scheduled($daemon), $heard; close $f;
    rename \"$ARGV[0].tmp\", $ARGV[0]; exit
};
open my $up, '>', \"$ARGV[0].up\";
while (1) {
    $waited = (scheduled($$))[1]; printf \"%.6f %.6f %.6f\\n\", scheduled($daemon), time;
    select undef, undef, undef, 0.02 + rand 0.02;
}
";

fn start(stage: &Stage) -> Daemon {
    let clock = stage.file("clock.pl", CLOCK);
    let flood = service("flood", "/usr/bin/perl", &["-e", FLOOD], "");
    let quiet = (0..QUIET).map(|number| {
        let name = format!("quiet{number}");
        service(&name, "/usr/bin/perl", &[&clock, &stage.at(&name)], "")
    });
    let config = flood + &quiet.collect::<String>();
    Launch::on(stage).config(config).stalled().start()
}

/// Seconds since 1970, as the services print them.
fn wall() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64()
}

/// A moment as the services print it: how long the daemon ran and waited for a processor, and the time.
#[derive(Clone, Copy)]
struct Written {
    ran: f64,
    waited: f64,
    time: f64,
}

impl Written {
    fn parse(text: &str) -> Written {
        let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        let (ran, waited, time) = (next(), next(), next());
        Written { ran, waited, time }
    }

    /// Now, as a service would print it.
    fn now(daemon: i32) -> Written {
        let daemon = Scheduled::of(&daemon.to_string());
        Written {
            ran: daemon.ran.as_secs_f64(),
            waited: daemon.waited.as_secs_f64(),
            time: wall(),
        }
    }
}

/// How busy the thread that reads was at moments before, so that what it was late with is not the daemon's.
#[derive(Default)]
struct Reader(VecDeque<(f64, f64)>);

impl Reader {
    /// How long a line that was read just now is due to the daemon: as long as it ran since the line was written, and as
    /// long as it rested although this thread had nothing to read.
    fn due_to_daemon(&mut self, written: Written, daemon: i32) -> f64 {
        let (now, own) = (Written::now(daemon), Scheduled::of("thread-self"));
        let busy = (own.ran + own.waited).as_secs_f64();
        let ran = now.ran - written.ran;
        let rested = now.time - written.time - ran - (now.waited - written.waited);
        while self.0.len() > 1 && self.0[1].0 <= written.time {
            self.0.pop_front();
        }
        let was_busy = self.0.front().map_or(busy, |before| before.1);
        self.0.push_back((now.time, busy));
        ran + (rested - (busy - was_busy)).max(0.0)
    }
}

/// Reads all, and gives for each quiet line how long of its way is due to the daemon, in seconds.
fn delays(output: File, daemon: i32) -> Receiver<f64> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::with_capacity(1 << 16, output);
        let mut line = Vec::new();
        let mut busy = Reader::default();
        while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            if line.starts_with(b"[quiet") {
                let text = std::str::from_utf8(&line).unwrap();
                let written = Written::parse(text.split_once("] ").unwrap().1);
                let _ = sender.send(busy.due_to_daemon(written, daemon));
            }
            line.clear();
        }
    });
    receiver
}

/// The 99th of a hundred.
fn percentile_99(mut values: Vec<f64>) -> Duration {
    values.sort_by(f64::total_cmp);
    Duration::from_secs_f64(values[values.len() * 99 / 100])
}

#[test]
fn quiet_lines_and_clients_do_not_wait_for_a_flood() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new();
    let mut daemon = start(&stage);
    let delays = delays(daemon.take_output(), daemon.pid());
    daemon.wait_all("RUNNING");
    // What was written while nobody read is old, and not by the daemon's doing.
    for _ in 0..QUIET * 10 {
        delays.recv_timeout(PATIENCE).unwrap();
    }
    for round in 1..=ROUNDS {
        let (line, list) = one_round(&daemon, &delays);
        eprintln!(
            "round {round}: 99 % of the quiet lines within {line:?}, of the lists within {list:?}"
        );
        if line < BOUND && list < BOUND {
            return;
        }
    }
    panic!("in none of {ROUNDS} rounds 99 % came within {BOUND:?}");
}

/// The 99th of a hundred delays of a quiet line, and times of a `list`.
fn one_round(daemon: &Daemon, delays: &Receiver<f64>) -> (Duration, Duration) {
    // Those of the round before.
    while delays.try_recv().is_ok() {}
    let mut lists = Vec::new();
    let lines = (0..LINES).map(|number| {
        if number % 10 == 0 {
            lists.push(daemon.time_of_answer().as_secs_f64());
        }
        delays.recv_timeout(PATIENCE).unwrap()
    });
    let lines = percentile_99(lines.collect());
    (lines, percentile_99(lists))
}

#[test]
fn sigterm_does_not_wait_for_a_flood() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let stage = Stage::new();
            let mut daemon = start(&stage);
            let delays = delays(daemon.take_output(), daemon.pid());
            daemon.wait_all("RUNNING");
            until(
                "every quiet service to listen for its signal",
                PATIENCE,
                || {
                    let listens = |number| stage.path(&format!("quiet{number}.up")).exists();
                    (0..QUIET).all(listens).then_some(())
                },
            );
            // And the flood is on.
            for _ in 0..QUIET {
                delays.recv_timeout(PATIENCE).unwrap();
            }
            let sent = Written::now(daemon.pid());
            daemon.sigterm();
            let last = until("every service to be told", PATIENCE, || {
                let heard = (0..QUIET).map(|number| stage.read(&format!("quiet{number}")));
                let heard: Vec<String> = heard.filter(|text| !text.is_empty()).collect();
                let took = heard.iter().map(|text| {
                    let heard = Written::parse(text);
                    heard.time - sent.time - (heard.waited - sent.waited)
                });
                (heard.len() == QUIET).then(|| took.fold(0.0, f64::max))
            });
            assert_eq!(daemon.wait_exit(PATIENCE), 0);
            last
        })
        .collect();
    times.sort_by(f64::total_cmp);
    eprintln!("seconds from SIGTERM until the last of {QUIET} services heard it: {times:.4?}");
    assert!(times[times.len() / 2] < BOUND.as_secs_f64(), "{times:?}");
}
