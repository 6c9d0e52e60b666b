//! Numbers of processes and groups that come round, and the service that names them (`MAINPID=`).

use crate::attack::{RACE, report, tries_or};
use crate::notify::{attacker, both_ways, python_of_all, wait_for_detail};
use crate::support::{Daemon, Launch, PATIENCE, Stage, service, shell, until};

/// Under PID 1 of a namespace with 400 process ids, so that a number comes round soon, or as that PID 1. Before Linux
/// 6.14 the bound is the whole machine's, which no test changes.
fn few_pids(launch: Launch<'_>, pid_one: bool) -> Option<Launch<'_>> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>());
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    // The first 300 are not used again.
    let bound = "echo 400 > /proc/sys/kernel/pid_max; i=0; while [ $i -lt 315 ]; do /bin/true; i=$((i+1)); done";
    // The shell stays, passes the end on and ends as the daemon does.
    let shell_stays = "trap 'kill $daemon' TERM; \"$@\" & daemon=$!; wait; wait $daemon; exit";
    let first = match pid_one {
        true => bound.to_owned(),
        false => format!("{bound}\n{shell_stays}"),
    };
    (version >= (6, 14)).then(|| launch.pid_one().shell_first(&first))
}

/// Plays an attack with few numbers both ways, until its tries (`reused TRIES`) are enough together.
fn until_reused(race: &str, config: &str, rounds: usize, check: impl Fn(&Daemon)) {
    for pid_one in [true, false] {
        let stage = Stage::new();
        let Some(launch) = few_pids(Launch::on(&stage).config(config), pid_one) else {
            return crate::support::say_skipped("needs Linux 6.14: pid_max of a namespace");
        };
        let mut daemon = launch.start();
        let wanted = tries_or(1);
        let figures = until("numbers that came round", RACE, || {
            let all = daemon.out.all();
            let reused = all.iter().filter_map(|line| line.split_once("reused "));
            let tries: Vec<usize> = reused.map(|(_, tries)| tries.parse().unwrap()).collect();
            let sum: usize = tries.iter().sum();
            let enough = tries.len() >= rounds && sum >= wanted;
            enough.then(|| format!("{sum} numbers used up, {} times it came round", tries.len()))
        });
        report(race, pid_one, &figures);
        check(&daemon);
        daemon.shut_down();
        check(&daemon);
    }
}

#[test]
fn a_process_id_that_is_nobodys_yet_cannot_be_named_as_the_main_one() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    // Names the next number until an orphan of another user, adopted by the daemon, has it; then ends.
    let wanted = tries_or(2_000);
    let program = "tries = 0
def name(pid):
    try: return open(f'/proc/{pid}/comm').read().strip()
    except OSError: return None
while True:
    want = last() + 1 + tries % 4
    while True:
        say(f'MAINPID={want}'); tries += 1
        if last() >= want: break
    # An orphan lives for seconds, and some time passes until its parent ends.
    for _ in range(500 if tries >= TRIES else 0):
        if name(want) not in ('sh', 'sleep'): break
        found = stat(want)
        if found is not None and int(found[1]) == daemon and owner(want) != os.getuid():
            print('taken', want, tries); time.sleep(0.05); os._exit(0)
        time.sleep(0.001)
";
    // Each background process is adopted when the subshell has ended.
    let victim = shell(
        "victim",
        "while :; do (sleep 5 &); sleep 0.03; done",
        "tty = false",
    );
    let program = program.replace("TRIES", &wanted.to_string());
    let config = victim + &attacker(&stage, "evil", "", &program);
    both_ways(&stage, &config, |daemon| {
        let line = daemon.out.wait_for("taken ", RACE);
        let words: Vec<&str> = line.rsplit("taken ").next().unwrap().split(' ').collect();
        assert!(words[1].parse::<usize>().unwrap() >= wanted, "{line}");
        // It has ended, and no process has taken its place.
        wait_for_detail(daemon, "evil", "completed");
        assert_eq!(daemon.row("victim").state(), "RUNNING");
        daemon
            .err
            .wait_for("is ignored: no running process of the service", PATIENCE);
    });
}

#[test]
fn a_group_number_that_came_round_is_not_killed() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    // An honest successor in the group of a process A leaves that group, ends A, lets the number of A come round
    // to another service's process, and ends.
    let program = "signal.signal(signal.SIGHUP, signal.SIG_IGN)
burn()
A = os.fork()
if A == 0:
    while True: signal.pause()
os.setpgid(A, A)
C = os.fork()
if C == 0:
    os.setpgid(0, A)
    while stat(me) is not None: time.sleep(0.01)
    time.sleep(0.1)
    os.setpgid(0, 0); os.kill(A, signal.SIGKILL)
    while stat(A) is not None: time.sleep(0.01)
    tries = 0
    # The number before may belong to a process that stays, or be the last that is not used again.
    while tries < 1000:
        tries += 1
        while burn() != A - 1 and tries < 1000: tries += 1
        for _ in range(60):
            if owner(A) == 0: print('reused', tries); time.sleep(0.2); os._exit(0)
            time.sleep(0.005)
    print('never reused'); os._exit(1)
while os.getpgid(C) != A: time.sleep(0.01)
say('READY=1', f'MAINPID={C}')
time.sleep(0.1)
os._exit(0)
";
    let again =
        "restart = { policy = \"always\", delay = \"20ms\", max_delay = \"20ms\", jitter = 0 }\n";
    let victim = |name, time| {
        let more = format!("tty = false\n{again}");
        service(name, "/bin/sleep", &[time], &more)
    };
    let victims = victim("one", "0.6") + &victim("two", "0.25") + &victim("three", "0.1");
    let evil = attacker(
        &stage,
        "evil",
        &format!("ready = \"notify\"\n{again}"),
        program,
    );
    until_reused("a group's number", &(victims + &evil), 1, |daemon| {
        let killed = daemon.err.text();
        assert!(!killed.contains("SIGKILL"), "{killed}");
    });
}

#[test]
fn a_group_that_lingers_is_only_looked_at() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    // The leader ends and leaves a zombie in its group whose parent is elsewhere: the group is not empty yet. Then
    // the zombie is reaped and the number comes round, while the daemon still waits for the group.
    let program = "leader = me
holder = os.fork()
if holder == 0:
    zombie = os.fork()
    if zombie == 0: time.sleep(1000)
    os.setsid()
    while stat(leader) is not None: time.sleep(0.0005)
    os.waitpid(zombie, 0)
    tries = 0
    while last() != leader - 1 and tries < 2000: burn(); tries += 1
    for _ in range(200):
        if owner(leader) == 0: print('reused', tries); break
        time.sleep(0.001)
    os._exit(0)
while os.getsid(holder) != holder: time.sleep(0.001)
os._exit(0)
";
    // Each leads a group of its own, and says how it ends.
    let victim = shell(
        "victim",
        "while :; do setsid -w sh -c 'sleep 0.6'; [ $? = 0 ] || echo killed; done & \
         while :; do setsid -w sh -c 'sleep 0.2'; [ $? = 0 ] || echo killed; done & \
         while :; do setsid -w sh -c 'sleep 0.1'; [ $? = 0 ] || echo killed; done",
        "tty = false",
    );
    let again =
        "restart = { policy = \"always\", delay = \"10ms\", max_delay = \"10ms\", jitter = 0 }\n";
    let evil = attacker(&stage, "evil", again, program);
    until_reused("a group that lingers", &(victim + &evil), 5, |daemon| {
        assert!(!daemon.out.text().contains("killed"), "{}", daemon.said());
    });
}
