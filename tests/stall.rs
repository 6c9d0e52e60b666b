//! The reader of the daemon's output stalls, goes, and comes back: the daemon still answers and ends, and each line is
//! delivered, or counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{
    Daemon, Launch, Op, PATIENCE, Stage, payload, service, shell, sleeper, status_field, until,
};

/// How often an answer is timed; the median leaves out what other work on the machine did.
const TIMES: usize = 9;

fn median_time_of_list(daemon: &Daemon) -> Duration {
    let mut times: Vec<Duration> = (0..TIMES).map(|_| daemon.time_of_answer()).collect();
    times.sort();
    times[TIMES / 2]
}

/// Waits until `flood` stands still: nobody takes what it writes any more.
fn wait_until_blocked(stage: &Stage) {
    let mut last = String::new();
    let mut same = 0;
    until("the writer to stand still", PATIENCE, || {
        let now = stage.read("progress");
        same = if now == last && !now.is_empty() {
            same + 1
        } else {
            0
        };
        last = now;
        (same >= 50).then_some(())
    });
}

/// Writes numbered lines and says in a file how far it is.
const WRITER: &str = "use strict; $| = 1; my ($lines, $file) = @ARGV;
for my $n (1 .. $lines) {
    printf \"line %08d %s\\n\", $n, 'x' x 80;
    if ($n % 100 == 0) { open my $f, '>', $file; print $f $n; close $f; }
}
";

#[test]
fn list_answers_while_the_reader_of_stdout_stalls() {
    let stage = Stage::new();
    let writer = stage.file("writer.pl", WRITER);
    let progress = stage.at("progress");
    let config = service(
        "flood",
        "/usr/bin/perl",
        &[&writer, "100000000", &progress],
        "",
    ) + &sleeper("quiet", "");
    let daemon = Launch::on(&stage).config(config).stalled().start();
    wait_until_blocked(&stage);
    let median = median_time_of_list(&daemon);
    assert!(median < Duration::from_millis(200), "{median:?}");
    // Changes work too, not only looking.
    daemon.cli_ok(&["restart", "quiet"]);
    daemon.wait_state("quiet", "RUNNING");
}

#[test]
fn sigterm_ends_everything_in_time_while_the_reader_stalls() {
    let stage = Stage::new();
    let writer = stage.file("writer.pl", WRITER);
    let progress = stage.at("progress");
    let config = "[timeouts]\nservice_shutdown_timeout = 1\nglobal_shutdown_timeout = 3\n\n"
        .to_owned()
        + &service(
            "flood",
            "/usr/bin/perl",
            &[&writer, "100000000", &progress],
            "",
        )
        + &shell("deaf", "trap '' TERM; yes", "");
    let mut daemon = Launch::on(&stage).config(config).stalled().start();
    wait_until_blocked(&stage);
    let began = Instant::now();
    daemon.shut_down();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn no_line_is_lost_when_the_reader_goes_on() {
    const LINES: usize = 100_000;
    let stage = Stage::new();
    let writer = stage.file("writer.pl", WRITER);
    let progress = stage.at("progress");
    let lines = LINES.to_string();
    let config = service("flood", "/usr/bin/perl", &[&writer, &lines, &progress], "");
    let mut daemon = Launch::on(&stage).config(config).stalled().start();
    wait_until_blocked(&stage);
    daemon.read_on();
    daemon.wait_state("flood", "STOPPED");
    daemon.out.wait_for(&format!("line {LINES:08}"), PATIENCE);
    let seen = payload(&daemon.out.all(), "flood");
    assert_eq!(seen.len(), LINES);
    for (line, number) in seen.iter().zip(1..) {
        assert!(
            line.starts_with(&format!("line {number:08} ")),
            "{line} is not {number}"
        );
    }
    daemon.shut_down();
}

/// A FIFO as the daemon's standard output, and the bytes that its readers received, one after the other.
struct Fifo {
    path: PathBuf,
    reader: Option<File>,
    received: Vec<u8>,
}

impl Fifo {
    fn on(stage: &Stage) -> Fifo {
        let path = stage.path("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut fifo = Fifo {
            path,
            reader: None,
            received: Vec::new(),
        };
        fifo.open();
        fifo
    }

    /// Commands of the shell that starts the daemon.
    fn as_stdout(&self) -> String {
        format!("exec >{}", self.path.display())
    }

    fn open(&mut self) {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        self.reader = Some(options.open(&self.path).unwrap());
    }

    fn close(&mut self) {
        self.reader = None;
    }

    /// Reads until the text has come.
    fn read_until(&mut self, needle: &str) {
        until(needle, PATIENCE, || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = self.reader.as_mut().unwrap().read(&mut buffer) {
                self.received.extend_from_slice(&buffer[..count]);
            }
            let text = String::from_utf8_lossy(&self.received);
            text.contains(needle).then_some(())
        });
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.received);
        text.lines().map(str::to_owned).collect()
    }
}

/// The numbers that `count` counted to, and how many lines are reported as dropped.
fn counted(lines: &[String]) -> (Vec<u64>, u64) {
    let (mut numbers, mut dropped) = (Vec::new(), 0);
    for line in lines {
        let text = line.strip_prefix("[count] ").unwrap_or(line);
        match text.strip_suffix(" dropped") {
            Some(text) => {
                let number = text.split(' ').next().unwrap().replace(',', "");
                dropped += number.parse::<u64>().unwrap();
            }
            None => numbers.extend(text.parse::<u64>().ok()),
        }
    }
    (numbers, dropped)
}

/// Counts without a pause until the file is there, and then says `end`.
fn counter(stage: &Stage, pause: &str, more: &str) -> String {
    let script = format!(
        "i=0; while [ ! -e {} ]; do i=$((i+1)); echo $i; {pause} done; echo $i >{}; echo end; exec sleep infinity",
        stage.at("stop"),
        stage.at("total")
    );
    shell("count", &script, more)
}

const UNREAD: &str = "no process reads standard output, a FIFO, any more";

#[test]
fn a_fifo_goes_on_with_its_next_reader_and_no_line_is_lost() {
    let stage = Stage::new();
    let mut fifo = Fifo::on(&stage);
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "sleep 0.001;", ""))
        .shell_first(&fifo.as_stdout())
        .start();
    for round in 1..=3 {
        fifo.read_until(&format!("\n[count] {}0\n", round));
        fifo.close();
        daemon.err.wait_for_count(UNREAD, round, PATIENCE);
        daemon.list();
        fifo.open();
        let again = "a process reads standard output again";
        daemon.err.wait_for_count(again, round, PATIENCE);
    }
    stage.file("stop", "");
    fifo.read_until("[count] end\n");
    let (numbers, dropped) = counted(&fifo.lines());
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1));
    assert_eq!((numbers[0], dropped), (1, 0));
    daemon.shut_down();
}

#[test]
fn lines_that_a_fifo_without_a_reader_has_no_room_for_are_counted() {
    let stage = Stage::new();
    let mut fifo = Fifo::on(&stage);
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "", "log_overflow = \"drop\""))
        .shell_first(&fifo.as_stdout())
        .start();
    fifo.read_until("[count] 10\n");
    fifo.close();
    daemon.err.wait_for(UNREAD, PATIENCE);
    until("dropped lines", PATIENCE, || {
        let status = daemon.cli_ok(&["status", "count"]);
        status.contains("Dropped").then_some(())
    });
    stage.file("stop", "");
    until("the end of counting", PATIENCE, || {
        (!stage.read("total").is_empty()).then_some(())
    });
    fifo.open();
    fifo.read_until("dropped\n");
    daemon.shut_down();
    // Up to the end of the FIFO.
    fifo.read_until("dropped\n");
    let (numbers, dropped) = counted(&fifo.lines());
    let total: u64 = stage.read("total").trim().parse().unwrap();
    // The last line, `end`, may be dropped too.
    let accounted = numbers.len() as u64 + dropped;
    assert!(
        (total..=total + 1).contains(&accounted),
        "{total} {accounted}"
    );
    assert!(numbers.is_sorted() && dropped > 0);
}

/// How often the daemon ran in three seconds.
fn wakes(daemon: &Daemon) -> u64 {
    let switches = || status_field(daemon.pid(), "voluntary_ctxt_switches").unwrap();
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    switches() - before
}

#[test]
fn a_fifo_without_a_reader_keeps_the_daemon_from_no_rest() {
    let stage = Stage::new();
    let mut fifo = Fifo::on(&stage);
    let go = stage.at("go");
    let script = format!(
        "echo begun; until [ -e {go} ]; do sleep 0.05; done; echo waits; exec sleep infinity"
    );
    let mut daemon = Launch::on(&stage)
        .config(shell("count", &script, ""))
        .shell_first(&fifo.as_stdout())
        .start();
    fifo.read_until("begun");
    fifo.close();
    stage.file("go", "");
    daemon.err.wait_for(UNREAD, PATIENCE);
    // The service's child ends, and timers for clients go off.
    let wakes = wakes(&daemon);
    assert!(wakes < 20, "{wakes}");
    fifo.open();
    fifo.read_until("waits");
    daemon.shut_down();
}

#[test]
fn without_inotify_a_fifo_is_tried_again_now_and_then() {
    need!("strace");
    let stage = Stage::new();
    let mut fifo = Fifo::on(&stage);
    let strace = "set -- strace -o /dev/null -e trace=inotify_init1 -e inject=inotify_init1:error=EMFILE \"$@\"";
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "sleep 0.05;", ""))
        .shell_first(&format!("{}; {strace}", fifo.as_stdout()))
        .start();
    fifo.read_until("[count] 2\n");
    fifo.close();
    daemon.err.wait_for(UNREAD, PATIENCE);
    fifo.open();
    stage.file("stop", "");
    fifo.read_until("[count] end\n");
    let (numbers, _) = counted(&fifo.lines());
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1));
    // The tracer's process is the child here, which keeps signals to itself.
    daemon.cli_ok(&["shutdown"]);
    assert_eq!(daemon.wait_exit(PATIENCE), 0);
}

#[test]
fn lines_that_no_reader_took_until_the_end_are_counted() {
    let stage = Stage::new();
    let mut fifo = Fifo::on(&stage);
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "sleep 0.01;", ""))
        .shell_first(&fifo.as_stdout())
        .start();
    fifo.read_until("[count] 2\n");
    fifo.close();
    daemon.err.wait_for(UNREAD, PATIENCE);
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
    let lost = daemon
        .err
        .wait_for("could not be written to standard output", PATIENCE);
    assert!(lost.contains(" line"), "{lost}");
}

#[test]
fn a_fifo_that_the_daemon_can_read_itself_waits_for_its_reader() {
    let stage = Stage::new();
    let mut fifo = Fifo::on(&stage);
    let path = fifo.path.display().to_string();
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "sleep 0.001;", ""))
        .shell_first(&format!("exec 1<>{path}"))
        .start();
    fifo.read_until("[count] 10\n");
    fifo.close();
    daemon.list();
    fifo.open();
    stage.file("stop", "");
    fifo.read_until("[count] end\n");
    let (numbers, _) = counted(&fifo.lines());
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1));
    daemon.shut_down();
}

/// Standard output is lost for good: the services run on, that is reported once, and the lines are in `logs`.
fn assert_runs_on(stage: &Stage, daemon: &mut Daemon) {
    let said = daemon
        .err
        .wait_for("cannot write to standard output", PATIENCE);
    assert!(said.contains("cannot come back"), "{said}");
    stage.file("stop", "");
    until("the end in logs", PATIENCE, || {
        let logs = daemon.cli_ok(&["logs", "-n", "1", "count"]);
        logs.contains("end").then_some(())
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE), 0);
    let reports = daemon.err.all();
    let cannot = reports.iter().filter(|line| line.contains("cannot write"));
    assert_eq!(cannot.count(), 1, "{reports:?}");
    let lost = daemon
        .err
        .wait_for("could not be written to standard output", PATIENCE);
    assert!(lost.contains(" lines"), "{lost}");
}

#[test]
fn a_pipe_without_a_reader_is_lost_for_good() {
    let stage = Stage::new();
    let config = counter(&stage, "", "");
    let mut daemon = Launch::on(&stage).config(config).stalled().start();
    drop(daemon.take_output());
    assert_runs_on(&stage, &mut daemon);
}

#[test]
fn a_fifo_whose_name_is_removed_is_lost_for_good() {
    let stage = Stage::new();
    let mut fifo = Fifo::on(&stage);
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "", ""))
        .shell_first(&fifo.as_stdout())
        .start();
    std::fs::remove_file(&fifo.path).unwrap();
    fifo.close();
    assert_runs_on(&stage, &mut daemon);
}

#[test]
fn a_socket_whose_peer_is_gone_is_lost_for_good() {
    need!("bash");
    let stage = Stage::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("exec >/dev/tcp/127.0.0.1/{port}; exec \"$@\"");
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "", ""))
        .shell_first(&format!("set -- bash -c '{connect}' bash \"$@\""))
        .start();
    drop(listener.accept().unwrap());
    assert_runs_on(&stage, &mut daemon);
}

#[test]
fn standard_output_that_cannot_be_written_is_reported() {
    for how in ["exec 1</", "exec 1</dev/null"] {
        let stage = Stage::new();
        let mut daemon = Launch::on(&stage)
            .config(counter(&stage, "sleep 0.01;", ""))
            .shell_first(how)
            .start();
        assert_runs_on(&stage, &mut daemon);
    }
}

#[test]
fn a_daemon_without_standard_output_or_error_supervises() {
    for how in ["exec 1>&-", "exec 2>&-", "exec 1>&- 2>&-"] {
        let stage = Stage::new();
        let mut daemon = Launch::on(&stage)
            .config(counter(&stage, "", ""))
            .shell_first(how)
            .start();
        stage.file("stop", "");
        until("the end in logs", PATIENCE, || {
            let logs = daemon.cli_ok(&["logs", "-n", "1", "count"]);
            logs.contains("end").then_some(())
        });
        daemon.shut_down();
    }
}

/// The lines of a regular file.
fn lines_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_file_that_is_truncated_goes_on_from_its_start() {
    let stage = Stage::new();
    let out = stage.at("out");
    let mut daemon = Launch::on(&stage)
        .config(counter(&stage, "sleep 0.001;", ""))
        .shell_first(&format!("exec >>{out}"))
        .start();
    let path = stage.path("out");
    until("lines", PATIENCE, || {
        (lines_of(&path).len() > 20).then_some(())
    });
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    stage.file("stop", "");
    until("the end", PATIENCE, || {
        lines_of(&path)
            .contains(&"[count] end".to_owned())
            .then_some(())
    });
    assert!(!std::fs::read(&path).unwrap().contains(&0));
    daemon.shut_down();
}

#[test]
fn a_mount_hangs_and_is_released() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    let file = mount.file("text", "from behind\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "from behind\n");
    for operation in [Op::Lookup, Op::Getattr, Op::Open, Op::Read] {
        mount.hang(&[operation]);
        let mut reader = Command::new("cat")
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn();
        let reader = reader.as_mut().unwrap();
        mount.wait_until_one_hangs();
        assert!(reader.try_wait().unwrap().is_none(), "{operation:?}");
        mount.release();
        let mut text = String::new();
        let out = reader.stdout.as_mut().unwrap();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from behind\n", "{operation:?}");
        assert!(reader.wait().unwrap().success());
    }
    let log = mount.at("log");
    let script = format!("echo one > {log}; echo two >> {log}; mv {log} {log}.1; ls {log}*");
    let listed = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8(listed.stdout).unwrap(),
        format!("{log}.1\n")
    );
    assert_eq!(
        std::fs::read_to_string(mount.behind("log.1")).unwrap(),
        "one\ntwo\n"
    );
}
