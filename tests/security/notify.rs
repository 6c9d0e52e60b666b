//! The notify socket: its senders, floods of it, and what `MAINPID=` may name.

use std::time::{Duration, Instant};

use crate::attack::RACE;
use crate::support::{Daemon, Launch, PATIENCE, Stage, is_alive, service, shell, until};

/// The beginning of an attacker's program: it speaks to its own notify socket.
const SPEAKER: &str = "import array, os, signal, socket, sys, time
address = os.environ['NOTIFY_SOCKET'].replace('@', '\\0')
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
me, daemon = os.getpid(), os.getppid()
def say(*words): s.sendto('\\n'.join(words).encode(), address)
def last(): return int(open('/proc/loadavg').read().split()[-1])
def stat(pid):
    try: return open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    except OSError: return None
def owner(pid):
    try: return os.stat(f'/proc/{pid}').st_uid
    except OSError: return None
def burn():
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
    return pid
";

/// A Python interpreter outside of any user's home.
pub(crate) fn python_of_all() -> Option<String> {
    let places = ["/usr/bin/python3", "/usr/local/bin/python3"];
    let found = places
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    found.map(str::to_owned)
}

/// A service of another user that runs this Python program with its notify socket.
pub(crate) fn attacker(stage: &Stage, name: &str, more: &str, program: &str) -> String {
    let python = python_of_all().unwrap();
    let script = stage.file(&format!("{name}.py"), &format!("{SPEAKER}{program}"));
    let more = format!("user = \"20001\"\ntty = false\nwatchdog = \"1h\"\n{more}");
    service(name, &python, &["-u", &script], &more)
}

/// Under PID 1 of a namespace, and beside other processes of the machine.
pub(crate) fn both_ways(stage: &Stage, config: &str, check: impl Fn(&Daemon)) {
    for pid_one in [true, false] {
        let launch = Launch::on(stage).config(config);
        let mut daemon = match pid_one {
            true => launch.pid_one().start(),
            false => launch.start(),
        };
        check(&daemon);
        daemon.shut_down();
    }
}

pub(crate) fn wait_for_detail(daemon: &Daemon, service: &str, detail: &str) {
    until(&format!("{detail:?} of {service}"), PATIENCE, || {
        let row = daemon.row(service);
        assert!(
            row.detail() == detail || row.state() != "FAILED",
            "{row:?}\n{}",
            daemon.said()
        );
        (row.detail() == detail).then_some(())
    });
}

#[test]
fn neither_anothers_process_nor_its_orphan_can_be_named_as_the_main_one() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    let folder = stage.open_folder("pids");
    // The main process, a child, an orphan in its session, and an orphan in a session of its own.
    let victim = format!(
        "(sleep 1000 & echo $! > {folder}/orphan); (setsid sleep 1000 & echo $! > {folder}/detached); \
         sleep 1000 & echo $! > {folder}/child; echo $$ > {folder}/main; wait"
    );
    for user in ["20001", "0"] {
        for named in ["orphan", "detached", "child", "main"] {
            let program = format!(
                "pid = int(open('{folder}/{named}').read())\nsay('READY=1', f'MAINPID={{pid}}')\ntime.sleep(0.05)\nos._exit(0)\n"
            );
            let thief = attacker(
                &stage,
                "thief",
                "ready = \"notify\"\ndepends_on = { name = \"victim\", wait_after = \"300ms\" }",
                &program,
            );
            let same_user = format!("tty = false\nuser = \"{user}\"");
            let config = shell("victim", &victim, &same_user)
                + &thief.replace(
                    "depends_on = { name = \"victim\", wait_after = \"300ms\" }",
                    "depends_on = \"victim\"\nwait_after = \"300ms\"",
                );
            let config = config.replace(
                "user = \"20001\"\ntty = false\nwatchdog",
                &format!("user = \"{user}\"\ntty = false\nwatchdog"),
            );
            let mut daemon = Launch::on(&stage).config(config).start();
            wait_for_detail(&daemon, "thief", "completed");
            let pid: i32 = stage.read(&format!("pids/{named}")).trim().parse().unwrap();
            assert!(is_alive(pid), "{named} of {user}");
            assert_eq!(daemon.row("victim").state(), "RUNNING");
            daemon.shut_down();
        }
    }
}

#[test]
fn descriptors_beside_a_word_do_not_hide_it_and_stay_nowhere() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    let program = "r, w = os.pipe()
def send(fds, *words): s.sendmsg(['\\n'.join(words).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))], 0, address)
send([w], 'FDSTORE=1', 'STATUS=one')
for _ in range(10_000): send([w] * 253, 'FDSTORE=1')
send([w] * 253, 'FDSTORE=1', 'READY=1')
os.close(w)
# Nothing is left that could write: the end is seen.
os.read(r, 1)
say('STATUS=closed')
time.sleep(1000)
";
    let config = attacker(&stage, "web", "ready = \"notify\"\n", program);
    both_ways(&stage, &config, |daemon| {
        // Two and a half million descriptors are closed until then.
        daemon.wait_state_for("web", "RUNNING", RACE);
        until("the end of the pipe", PATIENCE, || {
            (daemon.row("web").detail() == "closed").then_some(())
        });
        assert!(!daemon.err.text().contains("none of its processes"));
    });
}

/// Children that each send a socket whose last close waits for ten minutes: what was sent is never read. They end
/// at once, without a wait, so that the close in the daemon is the last one.
const LINGERING: &str = "import struct
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen(100)
def send_lingering():
    c = socket.socket(); c.connect(listener.getsockname())
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 600)); c.setblocking(False)
    try:
        while True: c.send(b'x' * 65536)
    except BlockingIOError: pass
    for _ in range(8): say('STATUS=busy')
    s.sendmsg([b'READY=1'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [c.fileno()]))], 0, address)
    os._exit(0)
for _ in range(20):
    pid = os.fork()
    if pid == 0: send_lingering()
    os.waitpid(pid, 0)
say('STATUS=sent')
time.sleep(1000)
";

/// Asks for the table several times; each answer comes soon.
fn answers_soon(daemon: &Daemon) {
    for _ in 0..10 {
        let asked = Instant::now();
        daemon.row("evil");
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
}

/// Under any load, and far below what the faults took.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn sockets_that_linger_beside_a_word_do_not_stop_the_daemon() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    let config = attacker(&stage, "evil", "ready = \"notify\"\n", LINGERING);
    both_ways(&stage, &config, |daemon| {
        daemon.wait_state("evil", "RUNNING");
        wait_for_detail(daemon, "evil", "sent");
        answers_soon(daemon);
    });
}

#[test]
fn words_about_the_main_process_without_end_keep_nobody_waiting() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    // Of a process with many parents, each in a session of its own: to find out where it comes from takes longest.
    let program = "for _ in range(25):
    if os.fork() != 0:
        while True: time.sleep(1000)
    os.setsid()
say('READY=1')
words = ['READY=1'] * 100 + ['STATUS=flood'] * 50 + [f'MAINPID={os.getpid()}'] * 150
while True: say(*words)
";
    let config = attacker(&stage, "evil", "ready = \"notify\"\n", program);
    let mut daemon = Launch::on(&stage).config(config).pid_one().start();
    daemon.wait_state("evil", "RUNNING");
    wait_for_detail(&daemon, "evil", "flood");
    answers_soon(&daemon);
    daemon.shut_down();
}

#[test]
fn no_thread_and_no_number_beside_processes_is_a_main_process() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    let program = "import threading
thread = threading.Thread(target=time.sleep, args=(1000,), daemon=True); thread.start()
child = os.fork()
if child == 0: os._exit(0)
while stat(child)[0] != 'Z': time.sleep(0.001)
for wrong in ['0', '-1', '1', '99999999999', '2147483647', '', ' ', str(daemon), str(child)]: say(f'MAINPID={wrong}')
say('READY=1', f'MAINPID={thread.native_id}')
time.sleep(0.2)
os._exit(0)
";
    let config = attacker(&stage, "evil", "ready = \"notify\"\n", program);
    both_ways(&stage, &config, |daemon| {
        wait_for_detail(daemon, "evil", "completed");
        daemon.err.wait_for(
            "is ignored: no running process of the service has this id",
            PATIENCE,
        );
    });
}

/// Sends to every notify socket that the kernel or a folder lists, as fast as it can, and says how many were taken.
const FLOOD: &str = "import glob, time
names = set()
for line in open('/proc/net/unix'):
    name = line.split()[-1]
    if 'notify' in name or '/proc/self/fd/' in name: names.add(name.replace('@', '\\0', 1))
for folder in glob.glob('/run/go-overlay-notify-*') + glob.glob('/tmp/go-overlay-notify-*'):
    names.add(folder); names.add(folder + '/socket'); names.update(glob.glob(folder + '/**', recursive=True))
taken, end = 0, time.time() + 2
while time.time() < end:
    for name in names:
        try: s.sendto(b'x' * 4096, socket.MSG_DONTWAIT, name); taken += 1
        except OSError: pass
print('sockets', len(names), 'taken', taken)
time.sleep(1000)
";

/// A watchdog that does not wait: it counts what the socket has no room for.
const FEEDS: &str = "s.setblocking(False)
say('READY=1')
refused, sent = 0, 0
while sent < 60:
    try: say('WATCHDOG=1')
    except BlockingIOError: refused += 1
    sent += 1
    time.sleep(0.05)
print('refused', refused)
time.sleep(1000)
";

#[test]
fn a_stranger_cannot_fill_a_notify_socket_whatever_user_it_is_of() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    for user in ["20001", "0"] {
        // The one who floods has a socket of its own, which it can fill.
        let config = attacker(&stage, "fed", "ready = \"notify\"\n", FEEDS).replace("20001", user)
            + &attacker(&stage, "flood", "depends_on = \"fed\"\n", FLOOD).replace("20001", "20002");
        both_ways(&stage, &config, |daemon| {
            let flood = daemon.out.wait_for("sockets ", PATIENCE);
            assert!(!flood.contains("sockets 1 "), "{flood}");
            daemon.out.wait_for("refused 0", PATIENCE);
        });
    }
}

/// As nginx or php-fpm does.
#[test]
fn a_program_that_starts_as_root_and_changes_its_user_itself_can_speak() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    let program = "os.setgroups([]); os.setgid(20003); os.setuid(20003)
worker = os.fork()
if worker == 0: say('READY=1', f'STATUS=worker {os.getuid()}')
time.sleep(1000)
";
    let config = attacker(&stage, "web", "ready = \"notify\"\n", program).replace("20001", "0");
    both_ways(&stage, &config, |daemon| {
        daemon.wait_state("web", "RUNNING");
        wait_for_detail(daemon, "web", "worker 20003");
    });
}

#[test]
fn without_a_place_for_files_the_socket_is_abstract_and_that_is_reported() {
    need_root!();
    if python_of_all().is_none() {
        return crate::support::skip("no python3 that every user can run");
    }
    let stage = Stage::new();
    let own = stage.root().display();
    let nowhere = format!(
        "mount --make-rprivate / && mount --bind {own} {own} && mount --rbind /tmp /tmp && mount -o remount,ro,bind /tmp \
         && mount -t tmpfs -o ro none /run && mount -t tmpfs -o ro none /dev/shm"
    );
    let says = "print('at', os.environ['NOTIFY_SOCKET'])\nsay('READY=1')\ntime.sleep(1000)\n";
    let config = attacker(&stage, "one", "ready = \"notify\"\n", says)
        + &attacker(&stage, "two", "ready = \"notify\"\n", says);
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first(&nowhere)
        .pid_one()
        .start();
    daemon.wait_all("RUNNING");
    daemon
        .out
        .wait_for("[one] at @go-overlay/notify/", PATIENCE);
    let complaints = daemon.err.text().matches("using an abstract one").count();
    assert_eq!(complaints, 1, "{}", daemon.said());
    daemon.shut_down();
}
