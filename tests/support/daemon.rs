//! A daemon under test.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{
    Lines, OwnTime, PATIENCE, PROGRAM, Row, Snapshot, Stage, ask, children, cli, descendants, until,
};

/// How to start one.
pub struct Launch<'a> {
    stage: &'a Stage,
    config: Option<String>,
    options: Vec<OsString>,
    main: Vec<OsString>,
    env: Vec<(String, String)>,
    shell_first: Option<String>,
    as_pid_one: bool,
    stalled: bool,
    terminal: Option<(u16, u16)>,
    stdin: Stdio,
}

impl<'a> Launch<'a> {
    /// On this stage, with nothing to supervise yet.
    pub fn on(stage: &'a Stage) -> Launch<'a> {
        Launch {
            stage,
            config: None,
            options: Vec::new(),
            main: Vec::new(),
            env: Vec::new(),
            shell_first: None,
            as_pid_one: false,
            stalled: false,
            terminal: None,
            stdin: Stdio::null(),
        }
    }

    /// With this `services.toml`.
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = Some(text.into());
        self
    }

    /// With a further option.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// With a main program, after `--`.
    pub fn main(mut self, command: &[&str]) -> Self {
        self.main = command.iter().map(OsString::from).collect();
        self
    }

    /// With a variable in the daemon's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// After these shell commands, in the same process: `ulimit -n 100; trap '' HUP`.
    pub fn shell_first(mut self, commands: &str) -> Self {
        self.shell_first = Some(commands.to_owned());
        self
    }

    /// As PID 1 of a namespace of its own.
    pub fn pid_one(mut self) -> Self {
        self.as_pid_one = true;
        self
    }

    /// With nobody reading its output until [`Daemon::read_on`].
    pub fn stalled(mut self) -> Self {
        self.stalled = true;
        self
    }

    /// On a terminal of this size, as a person starts it: it reads from there and writes to it, and is told
    /// when the size changes.
    pub fn on_terminal(mut self, columns: u16, rows: u16) -> Self {
        self.terminal = Some((columns, rows));
        self
    }

    /// With something on its standard input.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// The words of the command line.
    fn command_line(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if self.as_pid_one {
            let user: &[&str] = match super::is_root() {
                true => &[],
                false => &["--user", "--map-root-user"],
            };
            words.push("unshare".into());
            words.extend(user.iter().map(OsString::from));
            words.extend(["--pid", "--fork", "--mount-proc", "--kill-child"].map(OsString::from));
        }
        if self.terminal.is_some() {
            words.extend(["setsid", "--ctty"].map(OsString::from));
        }
        if let Some(commands) = &self.shell_first {
            words.extend(["sh", "-c"].map(OsString::from));
            words.push(format!("{commands}\nexec \"$@\"").into());
            words.push("sh".into());
        }
        words.push(PROGRAM.into());
        words.push("--no-install".into());
        words.push("--socket".into());
        words.push(self.stage.socket().into());
        if let Some(text) = &self.config {
            words.push("--config".into());
            words.push(self.stage.file("services.toml", text).into());
        }
        words.extend(self.options.iter().cloned());
        if !self.main.is_empty() {
            words.push("--".into());
            words.extend(self.main.iter().cloned());
        }
        words
    }

    fn spawn(self) -> Daemon {
        let words = self.command_line();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_remove("GO_OVERLAY_CONFIG")
            .env_remove("NO_COLOR")
            .envs(self.env)
            .stdin(self.stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let terminal = self.terminal.map(|(columns, rows)| {
            let (ours, theirs) = super::terminal::open(columns, rows);
            command
                .stdin(theirs.try_clone().unwrap())
                .stdout(theirs)
                .env("TERM", "xterm-256color");
            ours
        });
        let mut child = command.spawn().unwrap();
        // It holds the daemon's end of the terminal, whose end is to be seen.
        drop(command);
        let stdout = match &terminal {
            Some(ours) => ours.try_clone().unwrap(),
            None => OwnedFd::from(child.stdout.take().unwrap()),
        };
        let (out, unread) = match self.stalled {
            true => (Lines::default(), Some(stdout)),
            false => (Lines::gather(std::fs::File::from(stdout)), None),
        };
        Daemon {
            err: Lines::gather(child.stderr.take().unwrap()),
            out,
            unread,
            terminal,
            socket: self.stage.socket(),
            as_pid_one: self.as_pid_one,
            child,
            ended: None,
        }
    }

    /// Starts it and returns once it answers on its control socket.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_until_it_answers();
        daemon
    }

    /// Starts it without expecting it to answer: it may end at once.
    pub fn start_blindly(self) -> Daemon {
        self.spawn()
    }

    /// Starts it and returns its exit code and everything it wrote.
    pub fn run_to_end(self) -> Ended {
        let mut daemon = self.spawn();
        let code = daemon.wait_exit(PATIENCE);
        daemon.out.wait_for_end(PATIENCE);
        daemon.err.wait_for_end(PATIENCE);
        Ended {
            code,
            out: daemon.out.all(),
            err: daemon.err.text(),
        }
    }
}

/// A daemon that has ended.
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// The lines of its standard output.
    pub out: Vec<String>,
    /// Its standard error.
    pub err: String,
}

/// A running daemon; dropped, it and all that came from it are killed.
pub struct Daemon {
    /// Its standard output.
    pub out: Lines,
    /// Its standard error.
    pub err: Lines,
    /// Its control socket.
    pub socket: PathBuf,
    unread: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    as_pid_one: bool,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Waits until it answers on its control socket; for one that was started blindly.
    pub fn wait_until_it_answers(&mut self) {
        until("the daemon's first answer", PATIENCE, || {
            if let Some(status) = self.try_wait() {
                panic!("the daemon ended at once ({status}):\n{}", self.said());
            }
            self.try_list()
        });
    }

    /// Everything it wrote, for messages.
    pub fn said(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.out.text(), self.err.text())
    }

    /// Its process id, seen from here.
    pub fn pid(&self) -> i32 {
        let child = i32::try_from(self.child.id()).unwrap();
        if !self.as_pid_one {
            return child;
        }
        until("the first process of the namespace", PATIENCE, || {
            children(child).first().copied()
        })
    }

    /// Begins to read the output of a daemon that was started `stalled`.
    pub fn read_on(&mut self) {
        let stdout = self.take_output();
        self.out.read_from(stdout);
    }

    /// The output of a daemon that was started `stalled`, for a test that reads it in its own way.
    pub fn take_output(&mut self) -> std::fs::File {
        std::fs::File::from(self.unread.take().unwrap())
    }

    /// Gives another size to the terminal that it was started on, as pulling at a window does.
    pub fn resize_terminal(&self, columns: u16, rows: u16) {
        super::terminal::resize(self.terminal.as_ref().unwrap(), columns, rows);
    }

    /// One request on the control socket.
    pub fn ask(&self, request: Value) -> Value {
        let answer = ask(&self.socket, &request);
        answer.unwrap_or_else(|why| panic!("no answer to {request}: {why}\n{}", self.said()))
    }

    fn try_list(&self) -> Option<Vec<Row>> {
        let answer = ask(&self.socket, &json!({"command": "list"})).ok()?;
        let rows = answer["services"].as_array()?;
        Some(rows.iter().cloned().map(Row).collect())
    }

    /// Every service.
    pub fn list(&self) -> Vec<Row> {
        let rows = self.try_list();
        rows.unwrap_or_else(|| panic!("no list of services\n{}", self.said()))
    }

    /// One service.
    pub fn row(&self, service: &str) -> Row {
        let mut rows = self.list().into_iter();
        rows.find(|row| row.name() == service)
            .unwrap_or_else(|| panic!("{service} is not listed"))
    }

    /// How long it takes to answer, without what the machine gave to others meanwhile.
    pub fn time_of_answer(&self) -> Duration {
        let time = OwnTime::with(self.pid());
        self.list();
        time.elapsed().1
    }

    /// Whether commands are answered within this time: the best of some.
    pub fn assert_answers_within(&self, bound: Duration) {
        let best = (0..5).map(|_| self.time_of_answer()).min().unwrap();
        assert!(best < bound, "{best:?}");
    }

    /// Its process id, seen by the daemon, as soon as its program is executed.
    pub fn pid_of(&self, service: &str) -> i32 {
        until("its process", PATIENCE, || self.row(service).pid())
    }

    /// Waits until a service is in `state`.
    pub fn wait_state(&self, service: &str, state: &str) -> Row {
        self.wait_state_for(service, state, PATIENCE)
    }

    /// Waits until a service is in `state`, that long.
    pub fn wait_state_for(&self, service: &str, state: &str, patience: Duration) -> Row {
        let deadline = Instant::now() + patience;
        loop {
            let row = self.row(service);
            if row.state() == state {
                return row;
            }
            assert!(
                Instant::now() < deadline,
                "{service} is not {state} but {row:?}\n{}",
                self.said()
            );
            std::thread::sleep(super::LOOK_EVERY);
        }
    }

    /// Waits until every service is in `state`.
    pub fn wait_all(&self, state: &str) -> Vec<Row> {
        until(&format!("everything {state}"), PATIENCE, || {
            let rows = self.list();
            rows.iter().all(|row| row.state() == state).then_some(rows)
        })
    }

    /// `go-overlay ARGS…` beside it.
    pub fn cli(&self, args: &[&str]) -> Output {
        cli(&self.socket, args)
    }

    /// `go-overlay ARGS…` beside it, which has to succeed; gives its output.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Sends it a signal by number (`SIGRTMIN+3` has no name in the library).
    pub fn signal_number(&self, number: i32) {
        super::send(self.pid(), number);
    }

    /// Sends it SIGTERM.
    pub fn sigterm(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for its end and gives the exit code; 128 and the signal's number when it was killed.
    pub fn wait_exit(&mut self, patience: Duration) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.try_wait() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the daemon still runs after {patience:?}\n{}",
                self.said()
            );
            // Finer than elsewhere: some tests measure how soon the end comes.
            std::thread::sleep(Duration::from_millis(1));
        };
        let by_signal = || 128 + status.signal().unwrap_or_default();
        status.code().unwrap_or_else(by_signal)
    }

    /// Everything that runs below it now.
    pub fn everything(&self) -> Snapshot {
        Snapshot::below(self.pid())
    }

    /// SIGTERM, and then exit code 0 and nothing left of all that ran.
    pub fn shut_down(&mut self) {
        let everything = self.everything();
        self.sigterm();
        let code = self.wait_exit(PATIENCE);
        assert_eq!(code, 0, "{}", self.said());
        assert_eq!(everything.alive(), [0; 0], "left behind\n{}", self.said());
        if self.unread.is_none() {
            self.out.wait_for_end(PATIENCE);
        }
        self.err.wait_for_end(PATIENCE);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.try_wait().is_some() {
            return;
        }
        let own = self.child.id().cast_signed();
        // The daemon adopts what its services leave, so all of it is below it. Stopped first, it starts
        // nothing new meanwhile.
        let stopped: Vec<i32> = match self.as_pid_one {
            true => children(own),
            false => vec![own],
        };
        for pid in stopped {
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        }
        for _ in 0..100 {
            let left = descendants(own);
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
