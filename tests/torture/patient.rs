//! The daemon that is tortured: PID 1 of a namespace, its services up, and how it was before.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::aftermath::Level;
use crate::support::{Daemon, Launch, PATIENCE, Row, Stage, service};

/// What a shutdown may take of each service, and in all.
const TIMEOUTS: &str = "[timeouts]\nservice_shutdown_timeout = 2\nglobal_shutdown_timeout = 4\n\n";

/// Comes back whatever happens to it, and soon.
pub const RESTARTS: &str =
    "restart = { policy = \"always\", delay = \"50ms\", max_delay = \"200ms\", jitter = 0 }\n";

/// The services of a configuration, and what each is when it runs.
#[derive(Default)]
pub struct Services {
    text: String,
    /// The words that each service's command line ends with, which no other's does.
    pub commands: BTreeMap<String, Vec<String>>,
    disabled: usize,
}

impl Services {
    /// A service whose last argument no other has.
    pub fn add(&mut self, name: &str, command: &str, args: &[&str], more: &str) {
        self.text += &service(name, command, args, more);
        let mut words = vec![command.to_owned()];
        words.extend(args.iter().map(|word| (*word).to_owned()));
        let before = self.commands.insert(name.to_owned(), words);
        assert!(before.is_none(), "{name} is there twice");
        self.disabled += usize::from(more.contains("enabled = false"));
    }

    /// `count` services named `{stem}0` and so on that do nothing for ever.
    pub fn sleepers(mut self, stem: &str, count: usize, more: &str) -> Self {
        for number in 0..count {
            // sleep(1) takes several times and adds them: so each has a command line of its own.
            let own = (self.commands.len() + 1).to_string();
            let name = format!("{stem}{number}");
            self.add(&name, "/bin/sleep", &["infinity", &own], more);
        }
        self
    }
}

/// A daemon, and how it was before the torture.
pub struct Patient {
    /// Its folder.
    pub stage: Stage,
    /// Itself.
    pub daemon: Daemon,
    /// The words that each service's command line ends with.
    pub commands: BTreeMap<String, Vec<String>>,
    /// How it was.
    pub before: Level,
    disabled: usize,
}

impl Patient {
    /// Starts it as PID 1 after these shell commands, waits until everything enabled runs, and notes how it is then.
    pub fn after_shell(stage: Stage, services: Services, commands: &str) -> Patient {
        Patient::begun(stage, services, commands, |_, _| {})
    }

    /// The same; `begin` is called while these commands run.
    pub fn begun(
        stage: Stage,
        services: Services,
        commands: &str,
        begin: impl FnOnce(&Stage, &Daemon),
    ) -> Patient {
        let launch = Launch::on(&stage)
            .config(format!("{TIMEOUTS}{}", services.text))
            .pid_one()
            .shell_first(commands);
        let mut daemon = launch.start_blindly();
        begin(&stage, &daemon);
        daemon.wait_until_it_answers();
        let mut patient = Patient {
            stage,
            daemon,
            commands: services.commands,
            before: Level::default(),
            disabled: services.disabled,
        };
        patient.wait_until_up();
        patient.warm_up();
        // Checks come and go: what is always there is the level.
        let looks = (0..10).map(|_| Level::of(&patient.daemon));
        patient.before = looks.min_by_key(|level| level.descriptors).unwrap();
        patient
    }

    /// Starts it as PID 1.
    pub fn new(stage: Stage, services: Services) -> Patient {
        Patient::after_shell(stage, services, ":")
    }

    /// Each way of the daemon was gone once, so that what it keeps for the next time is part of how it was before.
    fn warm_up(&self) {
        let names: Vec<&String> = self.commands.keys().take(20).collect();
        self.daemon
            .ask(json!({"command": "restart", "services": names}));
        for _ in 0..20 {
            self.daemon.list();
        }
        self.wait_until_up();
    }

    /// Waits until every enabled service runs and every other does not.
    pub fn wait_until_up(&self) -> Vec<Row> {
        let up = self.commands.len() - self.disabled;
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let rows = self.daemon.list();
            let running = rows.iter().filter(|row| row.state() == "RUNNING").count();
            let stopped = rows.iter().filter(|row| row.state() == "STOPPED").count();
            if running == up && stopped == self.disabled {
                return rows;
            }
            let others = rows.iter().filter(|row| row.state() != "RUNNING");
            let others: Vec<String> = others
                .take(5)
                .map(|row| format!("{} {} {}", row.name(), row.state(), row.detail()))
                .collect();
            assert!(
                Instant::now() < deadline,
                "{running} of {up} services are up; {others:?}\n{}",
                self.daemon.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks for something without waiting for how it turns out.
    pub fn tell(&self, command: &str, services: &[&str]) {
        self.daemon
            .ask(json!({"command": command, "services": services, "no_wait": true}));
    }

    /// A shell's commands in the daemon's namespaces, which have to succeed.
    pub fn change_mounts(&self, commands: &str) {
        let pid = self.daemon.pid().to_string();
        let output = Command::new("nsenter")
            .args(["--mount", "--pid", "--target", &pid, "sh", "-c", commands])
            .output()
            .unwrap();
        assert!(output.status.success(), "{commands}: {output:?}");
    }

    /// The daemon's memory was at its height, in KiB.
    pub fn largest(&self) -> u64 {
        crate::support::status_field(self.daemon.pid(), "VmHWM").unwrap()
    }
}

/// Goes on only where a process namespace can be made and mounts can be changed.
#[macro_export]
macro_rules! need_pid_one {
    () => {
        need_root!();
        if !$crate::patient::can_be_pid_one() {
            return $crate::support::skip("no process namespace can be made here");
        }
    };
}

/// Whether a process namespace can be made here.
pub fn can_be_pid_one() -> bool {
    let tried = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}
