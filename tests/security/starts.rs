//! A service's user at work on the children that are about to become its own programs, while a daemon starts one
//! after the other: it stops them, traces them, starves them, and holds leases on what they execute.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::attack::{RACE, USER, as_pid_one, give, plays_all, report, users_folder};
use super::support::{Daemon, Launch, PATIENCE, Scheduled, Stage, find_program, service, until};

/// How many tries an attack has, and what the daemon's longest turn is held against.
struct Scale {
    /// Of 100,000 tries.
    tries: usize,
    /// The longest turn.
    turn: Duration,
    /// How long a child is held: a daemon that waits for one has a turn of that length.
    hold: Duration,
}

impl Scale {
    /// Beside other tests, with a debug binary whose pages are read from a disk that they use too, a turn is sometimes
    /// longer than it is by itself; so the short form allows more, and holds children for longer.
    fn of(tries: usize) -> Scale {
        let millis = Duration::from_millis;
        match plays_all() {
            true => Scale {
                tries,
                turn: millis(50),
                hold: millis(75),
            },
            false => Scale {
                tries: tries / 200,
                turn: millis(250),
                hold: millis(375),
            },
        }
    }
}

/// The longest answer on a machine that does other work as well, with the waits for a processor.
const LONGEST_ANSWER: Duration = Duration::from_secs(3);

/// Services of the attacker's user, one after the other of which is attacked.
const VICTIMS: usize = 32;

/// One attack at a time: each keeps a processor busy.
static ATTACK: Mutex<()> = Mutex::new(());

/// A setting of the kernel's, which is put back when this is dropped.
struct Setting {
    path: &'static str,
    before: String,
}

const SUID_DUMPABLE: &str = "/proc/sys/fs/suid_dumpable";

/// With it each session gets the same share of a processor, whatever the policy of its processes (sched(7)). Where
/// control groups share processors out, as for most containers, it has no effect.
const AUTOGROUP: &str = "/proc/sys/kernel/sched_autogroup_enabled";

impl Setting {
    fn set(path: &'static str, value: &str) -> Option<Setting> {
        let before = fs::read_to_string(path).ok()?;
        fs::write(path, value).ok()?;
        Some(Setting { path, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(self.path, self.before.trim());
    }
}

/// How long the daemon's turns are, seen from outside: it is asked without a pause to speak of. A turn in which one
/// question is answered has begun after the answer before, and ended before the one behind. Waits for a processor, the
/// daemon's and those of the test, do not count.
struct Turns {
    daemon: String,
    answered: Instant,
    waited: Duration,
    ran: Duration,
    between: Duration,
    longest: Duration,
    /// How long the daemon itself ran in the second half of that.
    ran_in_longest: Duration,
    longest_answer: Duration,
    asked: usize,
}

impl Turns {
    const PAUSE: Duration = Duration::from_millis(2);

    fn of(daemon: &Daemon) -> Turns {
        let mut turns = Turns {
            daemon: daemon.pid().to_string(),
            answered: Instant::now(),
            waited: Duration::ZERO,
            ran: Duration::ZERO,
            between: Duration::ZERO,
            longest: Duration::ZERO,
            ran_in_longest: Duration::ZERO,
            longest_answer: Duration::ZERO,
            asked: 0,
        };
        (turns.ran, turns.waited) = turns.scheduled();
        turns
    }

    fn scheduled(&self) -> (Duration, Duration) {
        let Scheduled { ran, waited } = Scheduled::of(&self.daemon);
        (ran, waited + Scheduled::of("thread-self").waited)
    }

    fn ask(&mut self, daemon: &Daemon) {
        let asked = Instant::now();
        daemon.list();
        let (answered, (ran, waited)) = (Instant::now(), self.scheduled());
        let between = (answered - self.answered).saturating_sub(waited - self.waited);
        if self.between + between > self.longest {
            (self.longest, self.ran_in_longest) = (self.between + between, ran - self.ran);
        }
        self.longest_answer = self.longest_answer.max(answered - asked);
        (self.answered, self.between) = (answered, between);
        (self.ran, self.waited) = (ran, waited);
        self.asked += 1;
        std::thread::sleep(Turns::PAUSE);
    }
}

/// What the attacker says that it did.
struct Count {
    tries: usize,
    hits: usize,
    note: String,
    faults: String,
}

impl Count {
    fn read(log: &Path) -> Option<Count> {
        let text = fs::read_to_string(log).ok()?;
        let (figures, faults) = text.trim().split_once('|')?;
        let mut words = figures.splitn(3, ' ');
        Some(Count {
            tries: words.next()?.parse().ok()?,
            hits: words.next()?.parse().ok()?,
            note: words.next().unwrap_or_default().to_owned(),
            faults: faults.to_owned(),
        })
    }
}

/// What the attacker's user owns.
struct Field {
    folder: PathBuf,
    /// What each victim's start opens, and an attacker with leases waits for: a program, env file or pre-script.
    files: Vec<String>,
    config: String,
}

impl Field {
    fn on(stage: &Stage) -> Field {
        let mut field = Field {
            folder: users_folder(stage, "users"),
            files: Vec::new(),
            config: String::new(),
        };
        field.make_long_way();
        for number in 0..VICTIMS {
            field.add_victim(number);
        }
        field
    }

    /// A way to the folder `end` that takes chdir(2) about a millisecond, so that there is time for an attack between a
    /// child's change of user and the execution. Fewer links than the kernel follows when it begins again.
    fn make_long_way(&self) {
        users_folder_in(&self.folder, "end");
        let names: Vec<String> = (0..6).map(|number| format!("link{number}")).collect();
        let targets = names.iter().skip(1).map(String::as_str).chain(["end"]);
        for (name, target) in names.iter().zip(targets) {
            let steps = "./".repeat((4095 - target.len()) / 2);
            let link = self.folder.join(name);
            symlink(steps + target, &link).unwrap();
            give(&link, USER);
        }
    }

    fn add(&mut self, name: &str, number: usize, mode: u32, write: impl FnOnce(&Path)) -> String {
        let path = self.folder.join(format!("{name}{number}"));
        write(&path);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
        path.display().to_string()
    }

    fn add_victim(&mut self, number: usize) {
        let program = self.add("program", number, 0o755, |path| {
            fs::copy(find_program("true").unwrap(), path).unwrap();
        });
        let write = |text: &'static str| move |path: &Path| fs::write(path, text).unwrap();
        let (file, key) = match number % 4 {
            1 => (self.add("env", number, 0o644, write("A=1\n")), "env_file"),
            2 => (
                self.add("pre", number, 0o755, write("#!/bin/sh\n")),
                "pre_script",
            ),
            _ => (program.clone(), ""),
        };
        let key = match key {
            "" => String::new(),
            key => format!("{key} = \"{file}\"\n"),
        };
        self.files.push(file);
        let more = format!(
            "{key}user = \"{USER}\"\ntty = false\nworking_dir = \"{}\"\n{}",
            self.folder.join("link0").display(),
            again("1ms")
        );
        self.config += &service(&format!("victim{number}"), &program, &[], &more);
    }
}

fn users_folder_in(folder: &Path, name: &str) {
    let path = folder.join(name);
    fs::create_dir(&path).unwrap();
    give(&path, USER);
}

fn again(delay: &str) -> String {
    format!(
        "restart = {{ policy = \"always\", delay = \"{delay}\", max_delay = \"{delay}\", jitter = 0 }}"
    )
}

/// What only the daemon knows, and root's service.
const SECRET: &str = "what-only-the-daemon-knows";

/// The attacker, as one of the services.
fn attacker(kind: &str, scale: &Scale, field: &Field, log: &Path) -> String {
    let hold = scale.hold.as_secs_f64().to_string();
    let (trace, policy, processors) = (
        libc::SYS_ptrace.to_string(),
        libc::SYS_sched_setscheduler.to_string(),
        libc::SYS_sched_setaffinity.to_string(),
    );
    let (log, folder) = (
        log.display().to_string(),
        field.folder.display().to_string(),
    );
    let mut words = vec!["-e", include_str!("starts.pl"), kind, &log, &hold, SECRET];
    words.extend([&trace, &policy, &processors, &folder].map(String::as_str));
    words.extend(field.files.iter().map(String::as_str));
    service(
        "attacker",
        "/usr/bin/perl",
        &words,
        &format!("user = \"{USER}\""),
    )
}

/// Lets an attack go on until it had its tries, half of them beside other processes and half on the children of a PID 1.
/// The daemon goes on meanwhile, and the user gets nothing.
fn play(kind: &str, race: &str, tries: usize) {
    let _alone = ATTACK.lock().unwrap_or_else(PoisonError::into_inner);
    for pid_one in [false, true] {
        play_at(pid_one, kind, race, &Scale::of(tries / 2));
    }
}

fn play_at(pid_one: bool, kind: &str, race: &str, scale: &Scale) {
    let stage = Stage::new();
    let field = Field::on(&stage);
    let log = field.folder.join("log");
    let other = format!("env = {{ SECRET = \"{SECRET}\" }}\n{}", again("20ms"));
    let config = attacker(kind, scale, &field, &log)
        + &field.config
        + &service("other", "/bin/true", &[], &other);
    // A core would be dumped where the daemon is, unless the child has entered another folder.
    let folder = field.folder.display();
    let first = format!("cd '{folder}'; ulimit -S -c $(ulimit -H -c)");
    let launch = Launch::on(&stage).config(config).shell_first(&first);
    let mut daemon = as_pid_one(launch, pid_one).start();
    let restarts = |daemon: &Daemon| daemon.row("other").0["restarts"].as_u64().unwrap();
    let mut turns = Turns::of(&daemon);
    let began = Instant::now();
    let count = loop {
        turns.ask(&daemon);
        match Count::read(&log) {
            Some(count) if count.tries >= scale.tries => break count,
            _ => assert!(began.elapsed() < RACE, "{race}: too few\n{}", daemon.said()),
        }
    };
    let took = began.elapsed();
    let before = restarts(&daemon);
    until("further starts of the other service", PATIENCE, || {
        (restarts(&daemon) > before).then_some(())
    });
    let Count {
        tries,
        hits,
        note,
        faults,
    } = count;
    let figures = format!(
        "{tries} tries, {hits} hits in {took:.1?}; longest turn {:.1?} of {} answers (the daemon ran for {:.1?}), \
         longest answer with waits for a processor {:.1?} {note}",
        turns.longest, turns.asked, turns.ran_in_longest, turns.longest_answer
    );
    report(race, pid_one, &figures);
    assert_eq!(faults, "", "{race}");
    // An attack that does not reach its children shows nothing.
    assert!(hits * 20 >= tries, "{race}: {figures}");
    assert!(turns.longest < scale.turn, "{race}: {figures}");
    assert!(turns.longest_answer < LONGEST_ANSWER, "{race}: {figures}");
    daemon.shut_down();
}

#[test]
fn a_user_that_stops_what_becomes_its_program_stops_nothing_else() {
    need_root!();
    need!("perl");
    play("stop", "a start is stopped", 20_000);
}

#[test]
fn a_user_that_traces_what_becomes_its_program_reads_nothing_of_the_daemons() {
    need_root!();
    need!("perl");
    for value in ["0", "1", "2"] {
        let Some(_set) = Setting::set(SUID_DUMPABLE, value) else {
            return super::support::say_skipped("fs.suid_dumpable cannot be set");
        };
        let race = format!("a start is traced, fs.suid_dumpable = {value}");
        play("trace", &race, 10_000);
    }
}

#[test]
fn a_user_that_starves_what_becomes_its_program_slows_nothing_else() {
    need_root!();
    need!("perl");
    let set = Setting::set(AUTOGROUP, "0");
    if set.is_none() && Path::new(AUTOGROUP).exists() {
        return super::support::say_skipped("kernel.sched_autogroup_enabled cannot be set");
    }
    play("starve", "a start is starved", 10_000);
}

#[test]
fn a_user_that_holds_a_lease_on_its_program_holds_up_nothing_else() {
    need_root!();
    need!("perl");
    play("lease", "a lease on the files of a start", 40_000);
}

/// The keys of the daemon's session (keyctl(2)).
fn session_keyring() -> Option<i64> {
    // SAFETY: system calls on numbers: KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, and make one.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 1) };
    (id > 0).then_some(id)
}

#[test]
fn a_user_does_not_get_the_daemons_session_keyring() {
    need_root!();
    if session_keyring().is_none() || File::open("/proc/keys").is_err() {
        return super::support::say_skipped("the kernel has no keyrings here");
    }
    let number = libc::SYS_keyctl;
    let script = format!(
        "$| = 1; my $id = syscall({number}, 0, -3, 0); print \"keyring <$id>\\n\"; sleep 1000"
    );
    let user = format!("user = \"{USER}\"");
    let stage = Stage::new();
    let config = service("owner", "/usr/bin/perl", &["-e", &script], "")
        + &service("other", "/usr/bin/perl", &["-e", &script], &user);
    // The daemon has a session keyring of its own.
    let join =
        format!("exec /usr/bin/perl -e 'syscall({number}, 1, 0) > 0 or die; exec @ARGV' -- \"$@\"");
    let mut daemon = Launch::on(&stage).config(config).shell_first(&join).start();
    let keyring = |name: &str| {
        let start = format!("[{name}]");
        until("a keyring", PATIENCE, || {
            let lines = daemon.out.all().into_iter();
            lines
                .filter(|line| line.starts_with(&start))
                .find_map(|line| {
                    let (_, rest) = line.split_once('<')?;
                    Some(rest.trim_end_matches('>').to_owned())
                })
        })
    };
    let (own, other) = (keyring("owner"), keyring("other"));
    assert!(own.parse::<i64>().unwrap() > 0, "{own}");
    assert_ne!(own, other);
    daemon.shut_down();
}
