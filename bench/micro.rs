//! What the pure parts cost by themselves: a step of the supervisor, lines, names in front of them, frames of the
//! protocol, the reading of a configuration, and the next time of a schedule. No kernel, no process: figures to compare two versions of this
//! program with, on one machine.
//!
//! `cargo bench --bench micro`, part of `make bench`; SAMPLES changes the run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use go_overlay::api::protocol;
use go_overlay::base::{ExitStatus, JobId, Moment, Pid, Signal};
use go_overlay::config::model::{
    Config, LogFormat, Overflow, Restart, RestartPolicy, Service, Timeouts, Timestamps,
};
use go_overlay::config::{self, Files, Needed};
use go_overlay::control::message::Response;
use go_overlay::domain::Now;
use go_overlay::output::destination::Destination;
use go_overlay::output::format::{Layout, Origin, Stamp, StreamKind};
use go_overlay::output::queue::Queue;
use go_overlay::output::recent::Recent;
use go_overlay::output::sink::{Sink, StreamText};
use go_overlay::output::splitter::Splitter;
use go_overlay::schedule::{Expression, Schedule, Timestamp, Zone};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::{Action, Event};
use go_overlay::sys::facts::SystemFacts;
use go_overlay::wire::json_line::{LineBuffer, encode, parse_request};

/// One sample is so long at least.
const SAMPLE: Duration = Duration::from_millis(20);

/// What a read of a busy service brings.
const BLOCK: usize = 64 * 1024;

fn main() {
    println!("{:<46}{:>12}{:>26}", "", "median", "least .. most");
    for count in [10, 1000] {
        let mut world = World::of(count);
        let what = format!("supervisor: an end and a new start, of {count}");
        tell(&what, "µs", 1e6, || world.restart_one());
    }
    for count in [300, 3000] {
        let stops = (0..samples()).map(|_| World::of(count).stop()).collect();
        tell_times(&format!("supervisor: a stop, of {count}"), "µs", stops);
    }
    let lines = b"0123456789".repeat(10)[..99].to_vec();
    let block: Vec<u8> = lines
        .iter()
        .copied()
        .chain([b'\n'])
        .cycle()
        .take(BLOCK)
        .collect();
    let mut splitter = Splitter::new();
    tell("splitter: 64 KiB of lines", "µs", 1e6, || {
        splitter.feed(&block, &mut |piece| {
            black_box(piece);
        });
    });
    let origin = Origin {
        stream: StreamKind::Stdout,
        pid: 1,
    };
    for (name, format) in [("plain", LogFormat::Plain), ("json", LogFormat::Json)] {
        let layout = Layout::new(format, Timestamps::None, "web", "[web] ".into(), false);
        let mut sink = Sink::new(
            vec![Destination::Stdout(layout)],
            Overflow::Block,
            Recent::new(BLOCK),
        );
        let (mut text, mut queue) = (StreamText::new(origin), Queue::new());
        let stamp = Stamp {
            wall: 1,
            elapsed: 1,
        };
        tell(
            &format!("sink: 64 KiB of lines, {name}"),
            "µs",
            1e6,
            || {
                sink.take(
                    &mut text,
                    black_box(&block),
                    stamp,
                    &mut queue,
                    &mut |_, text: &[u8]| _ = black_box(text),
                );
                queue.clear();
            },
        );
    }
    let world = World::of(100);
    let list = Response::List {
        services: world
            .supervisor
            .list(Now::at(Moment(1)))
            .iter()
            .map(protocol::row)
            .collect(),
    };
    tell(
        "frame: the answer to list, 100 services",
        "µs",
        1e6,
        || {
            black_box(encode(&list));
        },
    );
    let mut buffer = LineBuffer::new(BLOCK);
    tell("frame: a request taken in", "µs", 1e6, || {
        buffer.feed(b"{\"command\":\"status\",\"service\":\"web\"}\n");
        let line = buffer.next_line().unwrap().unwrap();
        drop(black_box(parse_request(&line)));
    });
    let text: String = (0..1000)
        .map(|index| {
            let before = if index == 0 { String::new() } else { format!("depends_on = \"s{}\"\n", index - 1) };
            format!("[[services]]\nname = \"s{index}\"\ncommand = \"/bin/true\"\nrestart = \"always\"\n{before}\n")
        })
        .collect();
    let facts = SystemFacts::new();
    tell(
        "configuration: a chain of 1,000 services",
        "ms",
        1e3,
        || {
            let files = Files::of("services.toml", text.clone().into());
            assert!(
                black_box(config::load(files, &facts, Needed::ByAll))
                    .config
                    .is_some()
            );
        },
    );
    schedules();
}

/// The next time of an expression: 50 µs is the most that any may take, at any instant.
fn schedules() {
    // 2072-03-01: the next 29 February that is a Monday is 40 years away. 2027-03-28T00:59:59Z: the gap in Berlin.
    let (rare, gap) = (3_224_102_400, 1_806_195_599);
    for (what, expression, after) in [
        ("schedule: every second", "* * * * * *", gap),
        ("schedule: every 5 minutes", "*/5 * * * *", gap),
        ("schedule: a fixed time in a gap", "30 2 * * *", gap),
        ("schedule: 29 February on a Monday", "0 0 * 2 MON#5", rare),
        ("schedule: always in a gap, so never", "* 2 * 3 SUNL", gap),
    ] {
        let expression = Expression::parse(expression).unwrap();
        let zone = Zone::bundled("Europe/Berlin").unwrap();
        let schedule = Schedule::new(vec![expression], zone);
        tell(what, "µs", 1e6, || {
            black_box(schedule.next(black_box(Timestamp(after))));
        });
    }
}

/// Runs it again and again, and prints what one run takes.
fn tell(what: &str, unit: &str, scale: f64, mut work: impl FnMut()) {
    let times = (0..samples())
        .map(|_| {
            let (began, mut runs) = (Instant::now(), 0u32);
            while began.elapsed() < SAMPLE {
                work();
                runs += 1;
            }
            began.elapsed().as_secs_f64() * scale / f64::from(runs)
        })
        .collect();
    tell_times(what, unit, times);
}

fn tell_times(what: &str, unit: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let range = format!("{:.2} .. {:.2}", times[0], times[times.len() - 1]);
    println!(
        "{what:<46}{:>9.2} {unit}{range:>26}",
        times[times.len() / 2]
    );
}

fn samples() -> usize {
    std::env::var("SAMPLES").map_or(15, |text| text.parse().unwrap())
}

/// Services that all run, and are started again at once when they end.
struct World {
    supervisor: Supervisor,
    alive: Vec<JobId>,
    next: usize,
    now: Moment,
}

impl World {
    fn of(count: usize) -> World {
        let services = (0..count).map(|index| Service {
            name: format!("s{index}"),
            command: "/bin/true".into(),
            restart: Restart {
                policy: RestartPolicy::Always,
                delay: Duration::ZERO,
                jitter_permille: 0,
                ..Restart::default()
            },
            ..Service::default()
        });
        let config = Config {
            timeouts: Timeouts::default(),
            services: services.collect(),
        };
        let mut world = World {
            supervisor: Supervisor::new(config, None, Now::default()),
            alive: Vec::new(),
            next: 0,
            now: Moment(1),
        };
        world.tell(Event::Boot);
        assert_eq!(world.alive.len(), count);
        world
    }

    fn restart_one(&mut self) {
        let index = self.next % self.alive.len();
        self.next += 1;
        let job = self.alive.swap_remove(index);
        // Long enough for the count of restarts to begin anew.
        self.now = self.now.after(Duration::from_secs(100));
        let status = ExitStatus::Exited(1);
        let before = self.alive.len();
        self.tell(Event::Exited { job, status });
        self.supervisor.handle_timeout(Now::at(self.now));
        self.drain();
        assert_eq!(self.alive.len(), before + 1);
    }

    /// Everybody is told to stop, and ends when the time for that has long passed for whoever still runs. Gives back
    /// µs a service.
    fn stop(mut self) -> f64 {
        let (count, began) = (self.alive.len() as f64, Instant::now());
        self.tell(Event::ShutdownSignal(Signal::TERM));
        self.now = self.now.after(Duration::from_secs(1));
        for job in std::mem::take(&mut self.alive) {
            let status = ExitStatus::Signaled(Signal::TERM);
            self.tell(Event::Exited { job, status });
        }
        began.elapsed().as_secs_f64() * 1e6 / count
    }

    fn tell(&mut self, event: Event) {
        self.supervisor.handle(event, Now::at(self.now));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            if let Action::Spawn { job, .. } = action {
                self.alive.push(job);
                let pid = Pid(100);
                self.supervisor
                    .handle(Event::Spawned { job, pid }, Now::at(self.now));
            }
        }
        let _ = black_box(self.supervisor.poll_timeout());
    }
}
