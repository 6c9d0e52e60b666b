//! What is measured, and how: one contender at a time, seen from outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contenders::Contender;
use crate::site::{PATIENCE, Site};

/// What a start leaves to be done is part neither of its memory nor of its end.
const REST: Duration = Duration::from_millis(300);

/// A contender that keeps its services.
pub struct Running {
    pub site: Site,
    supervisor: Child,
    pub services: Vec<i32>,
    stop: Signal,
    /// From its start to the last service's first act.
    pub started_in: Duration,
}

impl Running {
    /// Starts it; None when not all services came in time.
    pub fn start(contender: &Contender, service: &Path, count: usize) -> Option<Running> {
        let mut site = Site::new(service, count);
        let mut command = (contender.start)(&site);
        command
            .env("FIFO", site.fifo_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let began = Instant::now();
        let supervisor = command.spawn().unwrap();
        let services = site.announced(count);
        let mut running = Running {
            site,
            supervisor,
            services: Vec::new(),
            stop: contender.stop,
            started_in: began.elapsed(),
        };
        running.services = services?;
        std::thread::sleep(REST);
        Some(running)
    }

    /// Its processes, without the services. Nothing of those is looked at: what the kernel keeps of that makes the
    /// end of each dearer.
    pub fn processes(&self) -> Vec<i32> {
        let services: BTreeSet<i32> = self.services.iter().copied().collect();
        let own = i32::try_from(self.supervisor.id()).unwrap();
        let mut all = vec![own];
        all.extend(descendants(own, &services));
        all
    }

    /// The proportional set size of its processes, in kB.
    pub fn memory(&self) -> f64 {
        self.processes()
            .into_iter()
            .map(proportional_set_size)
            .sum::<u64>() as f64
    }

    /// Threads of all its processes.
    pub fn threads(&self) -> usize {
        let tasks = |pid| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        self.processes().into_iter().map(tasks).sum()
    }

    /// CPU time of its processes so far.
    pub fn processor_time(&self) -> Duration {
        self.processes().into_iter().map(processor_time).sum()
    }

    /// How long it takes from its signal until it and every service is gone; None when that takes too long.
    pub fn stop(mut self) -> Option<Duration> {
        let pid = Pid::from_raw(i32::try_from(self.supervisor.id()).unwrap());
        let (ended, end) = mpsc::channel();
        let watchdog = std::thread::spawn(move || {
            let late = end.recv_timeout(PATIENCE).is_err();
            if late {
                let _ = kill(pid, Signal::SIGKILL);
            }
            late
        });
        let began = Instant::now();
        kill(pid, self.stop).unwrap();
        // Who asks again and again takes part in what is measured.
        self.supervisor.wait().unwrap();
        let mut took = began.elapsed();
        let _ = ended.send(());
        if watchdog.join().unwrap() {
            return None;
        }
        while self.services.iter().any(|pid| is_alive(*pid)) {
            if began.elapsed() > PATIENCE {
                return None;
            }
            std::thread::sleep(Duration::from_micros(500));
            took = began.elapsed();
        }
        self.services.clear();
        Some(took)
    }

    /// From `kill -9` of the only service to the next one's first act.
    pub fn restart(&mut self) -> Option<Duration> {
        let began = Instant::now();
        kill(Pid::from_raw(self.services[0]), Signal::SIGKILL).unwrap();
        let next = self.site.announced(1)?;
        let took = began.elapsed();
        self.services = next;
        Some(took)
    }

    /// System calls of its processes in so many seconds, by strace.
    pub fn system_calls(&self, seconds: u64) -> f64 {
        let log = self.site.at("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", &log]);
        for pid in self.processes() {
            strace.args(["-p", &pid.to_string()]);
        }
        let mut strace = strace
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Nothing happens, so nothing can be waited for.
        std::thread::sleep(Duration::from_secs(seconds));
        kill(
            Pid::from_raw(i32::try_from(strace.id()).unwrap()),
            Signal::SIGINT,
        )
        .unwrap();
        strace.wait().unwrap();
        let calls = fs::read_to_string(&log).unwrap();
        // A call in which it waited all the time is no call made.
        calls
            .lines()
            .filter(|line| !line.contains("detached") && !line.contains("unfinished"))
            .count() as f64
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let own = i32::try_from(self.supervisor.id()).unwrap();
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            let mut all = descendants(own, &BTreeSet::new());
            all.insert(0, own);
            for pid in all {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = self.supervisor.wait();
        }
        for pid in &self.services {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// How long these commands take, one after the other.
pub fn run(commands: Vec<Command>) -> Duration {
    let began = Instant::now();
    for mut command in commands {
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok(), "{command:?}");
    }
    began.elapsed()
}

/// The fields of /proc/PID/stat from the state on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = text.rsplit_once(')')?;
    Some(after.split_whitespace().map(str::to_owned).collect())
}

fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// A file of /proc for each thread of a process.
fn of_threads(pid: i32, file: &'static str) -> impl Iterator<Item = String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.filter_map(move |task| fs::read_to_string(task.path().join(file)).ok())
}

fn descendants(root: i32, without: &BTreeSet<i32>) -> Vec<i32> {
    let children = |pid: i32| -> Vec<i32> {
        of_threads(pid, "children")
            .flat_map(|text| {
                text.split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .filter(|pid| !without.contains(pid))
                    .collect::<Vec<i32>>()
            })
            .collect()
    };
    let mut all = children(root);
    let mut next = 0;
    while next < all.len() {
        let below = children(all[next]);
        all.extend(below);
        next += 1;
    }
    all
}

fn proportional_set_size(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn processor_time(pid: i32) -> Duration {
    of_threads(pid, "schedstat")
        .filter_map(|text| text.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}
