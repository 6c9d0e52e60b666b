//! A daemon with five services and a service manager above it, a story that makes it do all it can, and what has to hold afterwards. Nothing
//! here panics over the daemon: what is wrong is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::kernel::{self, Level};
use crate::strace;
use crate::support::{
    Daemon, Launch, PROGRAM, Row, Stage, children, connect, descendants, is_root, service, shell,
    zombies,
};

/// What is wrong with a run, in words.
pub type Fault = String;

/// A command of a client: the daemon's patience with a silent one is 10 s.
const COMMAND: Duration = Duration::from_secs(14);

/// So long a client waits for a daemon that has said that it cannot take connections.
const UNHEARD: Duration = Duration::from_secs(2);

/// From SIGTERM to the end: `global_shutdown_timeout`, what the daemon allows itself for strays and for those
/// whom even SIGKILL does not end, and a machine with other work to do.
const END: Duration = Duration::from_secs(4 + 1 + 2 + 5);

/// What the daemon may hold more than before, in KiB: the places of its clients, and a heap with holes.
const MORE_KIB: u64 = 1024;

/// Until everything is as it was when the fault is over.
pub const RECOVERY: Duration = Duration::from_secs(25);

/// So many failed calls in a story of a second or two are made by somebody who does nothing else.
const MOST_FAILURES: usize = 3000;

/// A user that no file of the machine knows.
const STRANGER: u32 = 20_001;

/// A process, what it does, and who traces it: one that strace(1) holds does nothing.
fn described(pid: i32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let wanted = ["Name:", "State:", "PPid:", "TracerPid:"];
    let lines = status
        .lines()
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    let words = lines.map(|line| line.replace('\t', " "));
    format!("{pid}: {}", words.collect::<Vec<_>>().join(", "))
}

/// The configuration; `word` is in the environment of one service.
fn config(stage: &Stage, port: u16, word: &str) -> String {
    let again = "[services.restart]\npolicy = \"always\"\ndelay = \"100ms\"\nmax_delay = \"100ms\"\njitter = 0";
    let up = |name: &str| format!("echo {name} up; exec sleep infinity");
    let filed = format!(
        "log_file = {:?}\nworking_dir = {:?}\nnice = 1\noom_score_adj = 500\nno_new_privs = true\n{again}",
        stage.at("filed.log"),
        stage.at("")
    );
    let checked = format!(
        "{again}\n[services.health]\nhttp = \"http://127.0.0.1:{port}/\"\ninterval = \"100ms\"\nstart_interval = \"100ms\"\nretries = 2"
    );
    let user = match is_root() {
        true => format!("user = \"{STRANGER}\"\n"),
        false => String::new(),
    };
    // At its end it leaves a process of its own session behind, where it is asked to.
    let stray = "$(setsid -f sh -c \"exec sleep 1000 >/dev/null 2>&1\")";
    let reports = format!(
        "trap '[ -e {} ] && x={stray}; exit' TERM; systemd-notify --ready; while :; do sleep 1000 & wait; done",
        stage.at("stray")
    );
    format!(
        "[timeouts]\nservice_shutdown_timeout = 2\nglobal_shutdown_timeout = 4\n{}{}{}{}{}",
        shell("terminal", &up("terminal"), again),
        shell(
            "piped",
            &up("piped"),
            &format!("tty = false\nenv = {{ WORD = \"{word}\" }}\n{again}")
        ),
        shell("filed", &up("filed"), &filed),
        service("checked", "/bin/sleep", &["infinity"], &checked),
        shell(
            "reporting",
            &reports,
            &format!("tty = false\n{user}ready = \"notify\"\n{again}")
        ),
    )
}

/// A daemon in its story.
pub struct Story {
    pub stage: Stage,
    port: u16,
    pub daemon: Daemon,
    pub commands_failed: usize,
    /// Services outlived it, which it said.
    pub leaves_some: bool,
    /// Where the daemon reports to.
    manager: UnixDatagram,
    /// In the environment of all that came from this daemon, however it went away.
    marker: String,
}

impl Story {
    /// Everything up, as it is without a fault.
    pub fn begin(port: u16) -> Result<Story, Fault> {
        let mut story = Story::launch(port, |_| None);
        story.wait_until_up()?;
        Ok(story)
    }

    /// Started, perhaps after shell commands.
    pub fn launch(port: u16, first: impl FnOnce(&Stage) -> Option<String>) -> Story {
        let stage = Stage::new();
        let marker = stage.at("story");
        let manager = UnixDatagram::bind(stage.path("manager")).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut launch = Launch::on(&stage)
            .config(config(&stage, port, "one"))
            .env("NOTIFY_SOCKET", &stage.at("manager"))
            .env("STORY", &marker);
        if let Some(commands) = first(&stage) {
            launch = launch.shell_first(&commands);
        }
        let daemon = launch.start_blindly();
        Story {
            stage,
            port,
            daemon,
            commands_failed: 0,
            leaves_some: false,
            manager,
            marker,
        }
    }

    /// A file of its stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.stage.path(name)
    }

    /// Where strace writes to.
    pub fn trace(&self) -> PathBuf {
        self.path("trace")
    }

    /// The daemon's process.
    pub fn pid(&self) -> i32 {
        self.daemon.pid()
    }

    pub fn list(&self) -> Option<BTreeMap<String, Row>> {
        let mut stream = connect(&self.daemon.socket).ok()?;
        let patience = if self.takes_clients() {
            COMMAND
        } else {
            UNHEARD
        };
        stream.set_read_timeout(Some(patience)).ok()?;
        stream.write_all(b"{\"command\":\"list\"}\n").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        let answer: Value = serde_json::from_str(&line).ok()?;
        let rows = answer["services"].as_array()?.iter().cloned().map(Row);
        Some(rows.map(|row| (row.name().to_owned(), row)).collect())
    }

    fn takes_clients(&self) -> bool {
        !self.daemon.err.text().contains("cannot take a client")
    }

    /// At the end a process will be left that the daemon did not start.
    pub fn leave_a_stray(&self) {
        self.stage.file("stray", "");
    }

    pub fn has_ended(&mut self) -> bool {
        // The manager takes what it is sent.
        while self.manager.recv(&mut [0; 1024]).is_ok() {}
        self.daemon.try_wait().is_some()
    }

    /// Looks until it is so, or the daemon has ended, or the time is over.
    pub fn look(&mut self, at_most: Duration, mut so: impl FnMut(&mut Story) -> bool) -> bool {
        let deadline = Instant::now() + at_most;
        loop {
            // Whether it is the last look is known before it: what is true at the end is seen.
            let is_last = self.has_ended() || Instant::now() > deadline;
            if so(self) {
                return true;
            }
            if is_last {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn fault(&self, what: &str) -> Fault {
        let (out, err) = (self.daemon.out.text(), self.daemon.err.text());
        let list = self.list();
        let processes: Vec<String> = descendants(self.daemon.pid())
            .into_iter()
            .map(described)
            .collect();
        let processes = processes.join("; ");
        format!(
            "{what}\n{}\n{}\nlist: {list:?}\nprocesses: {processes}",
            end(&out),
            end(&err)
        )
    }

    pub fn is_up(&self) -> bool {
        self.list().is_some_and(|rows| {
            rows.values().all(|row| row.state() == "RUNNING")
                && rows["checked"].health() == "healthy"
        })
    }

    /// Waits until everything is as it should be, or the daemon has ended.
    pub fn wait_until_up(&mut self) -> Result<(), Fault> {
        let up = self.look(RECOVERY, |story| story.is_up());
        match up || self.has_ended() {
            true => Ok(()),
            false => Err(self.fault("HANG: not everything came up")),
        }
    }

    /// `go-overlay ARGS…`; a client that never ends is a fault.
    fn command(&mut self, args: &[&str]) -> Result<(), Fault> {
        if self.has_ended() {
            return Ok(());
        }
        let mut client = Command::new(PROGRAM)
            .arg("--socket")
            .arg(&self.daemon.socket)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = client.try_wait().unwrap() {
                self.commands_failed += usize::from(!status.success());
                return Ok(());
            }
            let waited = began.elapsed();
            if waited > UNHEARD && !self.takes_clients() {
                // Its connection waits in the kernel until it can be taken.
                let _ = client.kill();
                let _ = client.wait();
                self.commands_failed += 1;
                return Ok(());
            }
            if waited > COMMAND {
                let _ = client.kill();
                let _ = client.wait();
                return Err(self.fault(&format!("HANG: the command {args:?} never ends")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What happens to a daemon in a day.
    pub fn tell(&mut self) -> Result<(), Fault> {
        self.command(&["list"])?;
        self.command(&["restart", "terminal", "reporting", "--timeout", "3s"])?;
        self.command(&["logs", "-n", "5"])?;
        let changed = config(&self.stage, self.port, "two");
        self.stage.file("services.toml", &changed);
        self.command(&["reload"])?;
        self.kill_a_service();
        Ok(())
    }

    /// What else clients can ask for; gives back how many of these commands failed.
    pub fn ask_for_the_rest(&mut self) -> Result<usize, Fault> {
        let before = self.commands_failed;
        for words in [
            "status piped",
            "health",
            "stop piped",
            "start piped",
            "wait piped --for running --timeout 10s",
            "signal terminal CONT",
            "logs --grep up",
            "version",
            "list --json",
            "restart --all --timeout 20s",
        ] {
            self.command(&words.split(' ').collect::<Vec<_>>())?;
        }
        Ok(self.commands_failed - before)
    }

    /// Somebody kills a service, which comes back, or does not as long as the fault is there.
    fn kill_a_service(&mut self) {
        let Some(old) = self.list().and_then(|rows| rows.get("filed")?.pid()) else {
            return;
        };
        let _ = kill(Pid::from_raw(old), Signal::SIGKILL);
        self.look(Duration::from_secs(2), |story| {
            let rows = story.list().unwrap_or_default();
            let filed = rows.get("filed");
            filed.is_some_and(|row| row.state() == "RUNNING" && row.pid() != Some(old))
        });
    }

    /// Every process below the daemon is in its table, alive, and the other way round.
    pub fn table_is_true(&mut self) -> Result<(), Fault> {
        let mut seen = String::new();
        let is_true = self.look(Duration::from_secs(5), |story| {
            let Some(rows) = story.list() else {
                return false;
            };
            let mut listed: Vec<i32> = rows.values().filter_map(Row::pid).collect();
            let mut there = children(story.pid());
            listed.sort_unstable();
            there.sort_unstable();
            seen = format!("listed {listed:?}, there {there:?}");
            listed == there && zombies(story.pid()).is_empty()
        });
        match is_true || self.has_ended() {
            true => Ok(()),
            false => Err(self.fault(&format!("WRONG TABLE, OR A ZOMBIE: {seen}"))),
        }
    }

    /// Nothing is spun on.
    pub fn is_calm(&mut self, trace: bool) -> Result<(), Fault> {
        let failures = strace::injected(&self.trace());
        if trace && failures > MOST_FAILURES {
            return Err(self.fault(&format!("SPINS: {failures} failed calls")));
        }
        // A short look first; whoever seems busy is looked at for longer.
        for (window, bound) in [(100, 20), (1000, 200)] {
            let before = kernel::processor_time(self.pid());
            std::thread::sleep(Duration::from_millis(window));
            if self.has_ended() {
                return Ok(());
            }
            let spent = (kernel::processor_time(self.pid()).saturating_sub(before)) / 1_000_000;
            if spent < bound {
                return Ok(());
            }
        }
        Err(self.fault("SPINS: it is busy with nothing to do"))
    }

    /// With the fault over, everything is as it was: services, output, descriptors.
    pub fn recovers(&mut self, usual: &Level, lost: usize) -> Result<(), Fault> {
        self.wait_until_up()?;
        let count = |story: &Story| story.daemon.out.text().matches("terminal up").count();
        let said_before = count(self);
        let failed_before = self.commands_failed;
        self.command(&["restart", "--all", "--timeout", "15s"])?;
        if self.has_ended() {
            return Ok(());
        }
        if self.commands_failed > failed_before {
            return Err(self.fault("WRONG STATE: restarting everything fails"));
        }
        self.wait_until_up()?;
        if !self.look(RECOVERY, |story| count(story) > said_before) && !self.has_ended() {
            return Err(self.fault("WRONG STATE: output does not arrive any more"));
        }
        self.table_is_true()?;
        let mut found = Level::of(self.pid());
        let same = self.look(Duration::from_secs(5), |story| {
            found = Level::of(story.pid());
            let sum = |level: &Level| level.descriptors.values().sum::<usize>();
            let no_more = |(kind, count): (&String, &usize)| {
                *count <= usual.descriptors.get(kind).copied().unwrap_or(0)
            };
            let closed = found.descriptors.iter().all(no_more)
                || (lost > 0 && sum(&found) <= sum(usual) + lost);
            closed && found.memory <= usual.memory + MORE_KIB
        });
        match same || self.has_ended() {
            true => Ok(()),
            false => Err(self.fault(&format!("LEAK: {found:?}, not {usual:?}"))),
        }
    }

    /// SIGTERM, and nothing is left.
    pub fn end(&mut self) -> Result<i32, Fault> {
        self.end_and(false)
    }

    /// The same; `may_leave`: where nobody can be killed, if it is said.
    pub fn end_and(&mut self, may_leave: bool) -> Result<i32, Fault> {
        if !self.has_ended() {
            self.daemon.sigterm();
        }
        if !self.look(END, |story| story.has_ended()) {
            return Err(self.fault("HANG: it does not end"));
        }
        let code = self.daemon.wait_exit(END);
        self.daemon.err.wait_for_end(END);
        let said = self.daemon.err.text();
        let left = kernel::marked(&self.marker);
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        // Where every kill(2) fails, nothing can be done but to say so.
        self.leaves_some = !left.is_empty() && said.contains("may outlive this daemon");
        let is_fine = left.is_empty() || (may_leave && self.leaves_some);
        if !is_fine {
            return Err(format!(
                "LOST CHILDREN: {left:?} outlive it (code {code})\n{}",
                end(&self.daemon.said())
            ));
        }
        if code >= 128 || said.contains("panicked") {
            return Err(format!(
                "PANIC, OR KILLED: code {code}\n{}",
                end(&self.daemon.said())
            ));
        }
        Ok(code)
    }
}

/// The last of it: a daemon that goes in circles may say much.
pub fn end(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
