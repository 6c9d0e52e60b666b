//! A service's user at work on the children that are about to become its own programs, while a daemon starts one
//! after the other: it stops them, traces them, starves them, and holds leases on what they execute.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::time::Duration;

use super::attack::{RACE, USER, report, tries, users_folder};
use super::support::{Daemon, Launch, OwnTime, PATIENCE, Stage, find_program, service, until};

/// The daemon's longest turn, without what the machine gave to others, where all tries are played.
const LONGEST: Duration = Duration::from_millis(50);

/// The longest answer on a machine that does other work as well.
const GENEROUS: Duration = Duration::from_secs(3);

/// What every attack begins with. Each new process is tried once or more often, and counted once.
const EACH_NEW_PROCESS: &str = r#"
my ($log, $program) = @ARGV;
my ($count, $hits, $before, $bad) = (0, 0, 0, '');
open my $load, '<', '/proc/loadavg' or die;
open my $out, '>', $log or die;
$SIG{IO} = 'IGNORE';
sub name { open my $file, '<', "/proc/$_[0]/comm" or return ''; my $name = <$file> // ''; chomp $name; $name }
sub is_halfway { name($_[0]) =~ /^go-overlay/ }
while (1) {
    sysseek $load, 0, 0; sysread $load, my $text, 256;
    my ($last) = $text =~ /(\d+)$/ or next;
    for my $pid ($last .. $last + 2) { next if $pid == $$; attack($pid) and $hits++ }
    next if $last == $before;
    $before = $last; $count++;
    sysseek $out, 0, 0; syswrite $out, sprintf("%012d %012d %s\n", $count, $hits, $bad);
}
"#;

const STOP: &str = r#"
sub attack {
    my $pid = shift;
    kill 'STOP', $pid or return 0;
    select undef, undef, undef, is_halfway($pid) ? 0.05 : 0;
    kill 'CONT', $pid;
}
"#;

/// What is mapped can be read by a process that may trace: before the execution that is the daemon's memory.
const TRACE: &str = r#"
sub attack {
    my $pid = shift;
    my $seized = syscall(SYS_PTRACE, 0x4206, $pid, 0, 0) == 0;
    if ($seized && is_halfway($pid)) { $bad = "traced $pid" }
    if (open my $maps, '<', "/proc/$pid/maps") {
        local $/; my $text = <$maps> // '';
        $bad = "read the memory of $pid" if $text =~ m{/go-overlay$}m;
    }
    kill 'ABRT', $pid;
    1 while waitpid(-1, 0x40000001) > 0;
    return $seized;
}
"#;

const STARVE: &str = r#"
sub attack {
    my $pid = shift;
    my ($priority, $processors) = (pack('i', 0), pack('Q', 1));
    my $idle = syscall(SYS_SCHED_SETSCHEDULER, $pid, 5, $priority) == 0;
    my $one = syscall(SYS_SCHED_SETAFFINITY, $pid, 8, $processors) == 0;
    return $idle || $one;
}
"#;

/// A write lease (fcntl(2)) lets no other process open the file, and an execution waits.
const LEASE: &str = r#"
sub attack {
    open my $file, '+<', $program or return 0;
    fcntl($file, 1024, 1) or return 0;
    select undef, undef, undef, 0.003;
    return 1;
}
"#;

/// fs.suid_dumpable, as it was before.
struct SuidDumpable(String);

const SUID_DUMPABLE: &str = "/proc/sys/fs/suid_dumpable";

impl SuidDumpable {
    fn set(value: &str) -> Option<SuidDumpable> {
        let before = fs::read_to_string(SUID_DUMPABLE).ok()?;
        fs::write(SUID_DUMPABLE, value).ok()?;
        Some(SuidDumpable(before))
    }
}

impl Drop for SuidDumpable {
    fn drop(&mut self) {
        let _ = fs::write(SUID_DUMPABLE, self.0.trim());
    }
}

/// The longest answer so far, and the longest without the waits for a processor.
#[derive(Default)]
struct Longest {
    answer: Duration,
    turn: Duration,
}

impl Longest {
    fn look(&mut self, daemon: &Daemon) {
        let time = OwnTime::with(daemon.pid());
        daemon.list();
        let (answer, turn) = time.elapsed();
        self.answer = self.answer.max(answer);
        self.turn = self.turn.max(turn);
    }
}

/// Lets an attack go on until it had its tries; returns what it did that it must not.
fn play(name: &str, attack: &str, tries: usize) -> String {
    let stage = Stage::new();
    let folder = users_folder(&stage, "users");
    let program = folder.join("program");
    stage.copy_of(find_program("true").unwrap(), "users/program");
    chown(&program, Some(USER), Some(USER)).unwrap();
    let (program, log) = (program.display().to_string(), folder.join("log"));
    let script = attack
        .replace("SYS_PTRACE", &libc::SYS_ptrace.to_string())
        .replace(
            "SYS_SCHED_SETSCHEDULER",
            &libc::SYS_sched_setscheduler.to_string(),
        )
        .replace(
            "SYS_SCHED_SETAFFINITY",
            &libc::SYS_sched_setaffinity.to_string(),
        );
    let script = format!("{script}{EACH_NEW_PROCESS}");
    let restart =
        "restart = { policy = \"always\", delay = \"1ms\", max_delay = \"1ms\", jitter = 0}";
    let user = format!("user = \"{USER}\"");
    let words = ["-e", &script, log.to_str().unwrap(), &program];
    let config = service("attacker", "/usr/bin/perl", &words, &user)
        + &service("victim", &program, &[], &format!("{user}\n{restart}"))
        + &service("other", "/bin/true", &[], restart);
    let mut daemon = Launch::on(&stage).config(config).start();
    let restarts = |daemon: &Daemon, name: &str| daemon.row(name).0["restarts"].as_u64().unwrap();
    let mut longest = Longest::default();
    let words = until(name, RACE, || {
        longest.look(&daemon);
        let text = fs::read_to_string(&log).unwrap_or_default();
        let words: Vec<String> = text.trim().splitn(3, ' ').map(str::to_owned).collect();
        let count: usize = words.first()?.parse().ok()?;
        (count >= tries).then_some(words)
    });
    let before = restarts(&daemon, "other");
    until("further starts of the other service", PATIENCE, || {
        longest.look(&daemon);
        (restarts(&daemon, "other") > before).then_some(())
    });
    let figures = format!(
        "{} tries, {} hits, {} starts of the victim; longest answer {:?}, without waits for a processor {:?}",
        words[0].trim_start_matches('0'),
        words[1].trim_start_matches('0'),
        restarts(&daemon, "victim"),
        longest.answer,
        longest.turn
    );
    report(name, false, &figures);
    assert!(longest.answer < GENEROUS, "{figures}");
    if std::env::var("GO_OVERLAY_RACES").as_deref() == Ok("all") {
        assert!(longest.turn < LONGEST, "{figures}");
    }
    daemon.shut_down();
    words.get(2).cloned().unwrap_or_default()
}

/// A share of 100,000 tries where all are played.
fn share() -> usize {
    tries() * 5 / 2
}

#[test]
fn a_user_that_stops_what_becomes_its_program_stops_nothing_else() {
    need_root!();
    need!("perl");
    play("a start is stopped", STOP, share());
}

#[test]
fn a_user_that_traces_what_becomes_its_program_reads_nothing_of_the_daemons() {
    need_root!();
    need!("perl");
    for value in ["0", "1", "2"] {
        let Some(_set) = SuidDumpable::set(value) else {
            return super::support::say_skipped("fs.suid_dumpable cannot be set");
        };
        let name = format!("a start is traced, fs.suid_dumpable = {value}");
        assert_eq!(play(&name, TRACE, share().div_ceil(3)), "", "{name}");
    }
}

#[test]
fn a_user_that_starves_what_becomes_its_program_slows_nothing_else() {
    need_root!();
    need!("perl");
    play("a start is starved", STARVE, share());
}

#[test]
fn a_user_that_holds_a_lease_on_its_program_holds_up_nothing_else() {
    need_root!();
    need!("perl");
    play("a lease on the program of a start", LEASE, share());
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
