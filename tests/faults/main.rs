//! Each system call of the daemon fails in turn with each error that its manual page lists (strace(1),
//! `--inject`), and the daemon carries on, says so, or ends in order: never a hang, a spin, a panic, a
//! zombie, a child that outlives it, a leaked descriptor or a table that is not true.
//!
//! `make test` runs the pairs that matter most and a part of the others, another one every day;
//! `make faults` runs all and compares the whole table with the reviewed one, docs/FAULTS.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kernel;
mod paths;
mod places;
mod places_of_paths;
mod run;
mod story;
mod strace;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod valgrind;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernel::Level;
use places::{CANNOT_FAIL, Moment, On, PLACES, Place, Who};
use story::Story;
use support::is_root;
use table::Cells;

/// Runs at a time: they wait more than they work.
const AT_ONCE: usize = 6;

/// How often an outcome has to be another than the recorded one.
const TRIES: usize = 3;

/// After this nothing of the short form is begun any more.
const SHORT: Duration = Duration::from_secs(12);

/// How many of the rest the short form takes.
const ROTATING: usize = 24;

/// What went wrong once, or would cost most.
const VALUABLE: &[(&str, &str, Moment)] = &[
    ("epoll_wait", "EINVAL", Moment::Once),
    ("epoll_wait", "EINVAL", Moment::ForGood),
    ("epoll_wait", "EINTR", Moment::ForGood),
    ("read", "EINTR", Moment::Once),
    ("timerfd_settime", "EINVAL", Moment::ForGood),
    ("wait4", "ECHILD", Moment::SixTimes),
    ("kill", "EPERM", Moment::SixTimes),
    ("rt_sigprocmask", "EINVAL", Moment::SixTimes),
    ("accept4", "EMFILE", Moment::SixTimes),
    ("recvmsg", "ENOMEM", Moment::SixTimes),
    ("pidfd_send_signal", "ENOSYS", Moment::ForGood),
];

/// Made where a service has a user.
const USERS: &[&str] = &["setgroups", "setresgid", "setresuid", "capset", "lchown"];

struct Case {
    place: &'static Place,
    error: &'static str,
    moment: Moment,
}

impl Case {
    /// What comes of it, or what is wrong. Whether a client or a check meets the call that fails depends on who comes
    /// first, so an outcome that is not the recorded one has to come again. What is wrong counts at once.
    fn outcome(&self, recorded: &str, port: u16, usual: &Level) -> Result<String, story::Fault> {
        let cell = table::recorded_cell(recorded, self.place, self.error, self.moment);
        let once = || run::run(self.place, self.error, self.moment, port, usual);
        // Now and then strace keeps a process that it follows stopped (`--follow-forks` and vfork(2)), whatever fails:
        // nothing of the daemon's was seen then.
        let is_kept = |fault: &story::Fault| fault.contains("(tracing stop)");
        let run = || match once() {
            Err(fault) if self.place.who == Who::Child && is_kept(&fault) => once(),
            outcome => outcome,
        };
        let mut outcome = run()?.to_string();
        for _ in 1..TRIES {
            if cell.is_empty() || table::is_in(cell, &outcome) {
                break;
            }
            outcome = run()?.to_string();
        }
        Ok(outcome)
    }

    fn is_possible(&self) -> bool {
        let (call, lasts) = (self.place.call, self.moment == Moment::ForGood);
        match (self.error, self.place.on) {
            // Whoever repeats a call that a signal cut short (the standard library does) repeats it for ever when
            // every one is: but signals are blocked in the daemon, so only what it waits with is tried so.
            ("EINTR", On::Path(path)) if lasts => path.starts_with("anon_inode"),
            ("EINTR", _) if lasts => {
                ["epoll_wait", "timerfd_settime", "accept4", "wait4"].contains(&call)
            }
            // A reader that is gone does not come back.
            ("EPIPE" | "EBADF", On::Stdout | On::Stderr) => lasts,
            ("EAGAIN", _) if call == "sendto" => !lasts,
            // strace does not make the call, while the kernel closes whatever it answers: a start whose report stays
            // open in the daemon seems to go on.
            ("EINTR" | "EIO" | "ENOSPC", _) if call == "close" => self.moment != Moment::SixTimes,
            // Only root can make a service another user's.
            _ if USERS.contains(&call) => is_root(),
            _ => true,
        }
    }
}

fn all() -> Vec<Case> {
    let of_place = |place: &'static Place| {
        place.errors.iter().flat_map(move |error| {
            let cases = place.moments.iter();
            let cases = cases.map(move |moment| Case {
                place,
                error,
                moment: *moment,
            });
            cases.filter(Case::is_possible)
        })
    };
    PLACES.iter().flat_map(of_place).collect()
}

/// Somebody who is always well, for the service with a check.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}

/// Runs cases side by side; gives back their outcomes and what is wrong.
fn run_all(recorded: &str, cases: Vec<Case>, until: Option<Instant>) -> (Cells, Vec<String>) {
    let port = serve();
    let usual = {
        let mut story = Story::begin(port).unwrap();
        let usual = Level::at_rest(story.pid());
        story.end().unwrap();
        usual
    };
    let queue: Mutex<VecDeque<Case>> = Mutex::new(cases.into());
    let found = Mutex::new((Cells::new(), Vec::new()));
    let work = || {
        while until.is_none_or(|until| Instant::now() < until)
            && let Some(case) = { queue.lock().unwrap().pop_front() }
        {
            let name = format!("{} {} {}", case.place.name(), case.error, case.moment);
            let ran = catch_unwind(AssertUnwindSafe(|| case.outcome(recorded, port, &usual)));
            let fault = "the test itself failed".to_owned();
            let outcome = match ran.unwrap_or(Err(fault)) {
                Ok(outcome) => outcome,
                Err(fault) => {
                    println!("{name}: {fault}");
                    found.lock().unwrap().1.push(format!("{name}: {fault}"));
                    continue;
                }
            };
            println!("{name}: {outcome}");
            let key = (case.place.name(), case.error, case.moment);
            found.lock().unwrap().0.insert(key, outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap()
}

fn is_wanted(case: &Case, filter: &str) -> bool {
    let name = format!("{} {} {}", case.place.name(), case.error, case.moment);
    filter == "all" || name.contains(filter)
}

/// `GO_OVERLAY_FAULTS=all`, or a part of what rows are called; nothing: the short form.
fn chosen() -> Option<String> {
    std::env::var("GO_OVERLAY_FAULTS").ok()
}

fn today() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() / 86400
}

/// The valuable ones, and as many of the others as the day brings.
fn short() -> Vec<Case> {
    let seed = today();
    println!("the part of day {seed}");
    let is_valuable = |case: &Case| {
        VALUABLE.iter().any(|(call, error, moment)| {
            case.place.call == *call && case.error == *error && case.moment == *moment
        })
    };
    let (mut chosen, others): (Vec<Case>, Vec<Case>) = all().into_iter().partition(is_valuable);
    let step = others.len().div_ceil(ROTATING);
    let offset = usize::try_from(seed).unwrap() % step;
    chosen.extend(others.into_iter().skip(offset).step_by(step));
    chosen
}

#[test]
fn each_call_fails_with_each_of_its_errors() {
    need!("strace");
    need!("systemd-notify");
    let recorded = table::recorded();
    let filter = chosen();
    let cases: Vec<Case> = match &filter {
        None => short(),
        Some(filter) => all()
            .into_iter()
            .filter(|case| is_wanted(case, filter))
            .collect(),
    };
    let count = cases.len();
    let until = filter.is_none().then(|| Instant::now() + SHORT);
    let began = Instant::now();
    let (found, mut faults) = run_all(&recorded, cases, until);
    println!("{} of {count} in {:?}", found.len(), began.elapsed());
    if filter.as_deref() == Some("all") {
        assert!(faults.is_empty(), "{}", faults.join("\n\n"));
        table::record(&recorded, &found);
        return;
    }
    for ((name, error, moment), outcome) in &found {
        let place = PLACES.iter().find(|place| place.name() == *name).unwrap();
        let cell = table::recorded_cell(&recorded, place, error, *moment);
        // Beside all other tests, what is done first is not what it is alone.
        if filter.is_some() && !table::is_in(cell, outcome) {
            faults.push(format!(
                "{name} {error} {moment}: {outcome}, recorded is {cell:?}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn no_call_of_the_daemon_is_left_out() {
    need!("strace");
    need!("systemd-notify");
    let mut story = Story::launch(serve(), |stage| {
        let words = ["-qq".to_owned(), format!("--output={}", stage.at("trace"))];
        Some(strace::shell_first(&words))
    });
    story.wait_until_up().unwrap();
    story.tell().unwrap();
    assert_eq!(story.end().unwrap(), 0);
    let known = |name: &String| {
        CANNOT_FAIL.contains(&name.as_str()) || PLACES.iter().any(|place| place.call == *name)
    };
    let mut calls = strace::calls(&story.trace());
    assert!(calls.len() > 20, "{calls:?}");
    calls.retain(|name| !known(name));
    assert_eq!(calls, [""; 0], "give each a row in places.rs");
}
