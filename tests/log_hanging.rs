//! A log file, or the file that is standard output, on a mount that hangs: that costs its own service's lines by its
//! overflow policy, and never the loop, another service, or the end of the daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, Hanging, Launch, Op, PATIENCE, Stage, payload, service, shell, until};

/// How long an answer may take while a mount hangs; the best of some, since other work on the machine has its turns.
const PROMPT: Duration = Duration::from_millis(200);

/// So many lines at once, then one now and then.
const FLOOD_LINES: u64 = 60_000;
const FLOOD: &str = "$| = 1; my $n = 0;
sub line { $n++; printf \"line %09d %s\\n\", $n, 'x' x 80 }
line() while $n < 60000; open my $f, '>', $ARGV[0]; print $f 'done'; close $f;
while (1) { line(); select undef, undef, undef, 0.05 }";

const TICKER: &str = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.01; done";

fn flood(stage: &Stage, log: &str, more: &str) -> String {
    let more = format!("log_file = \"{log}\"\n[services.log]\nstdout = false\n{more}");
    service(
        "flood",
        "/usr/bin/perl",
        &["-e", FLOOD, &stage.at("done")],
        &more,
    )
}

/// Lets the mount work again before the daemon is killed: what hangs in it cannot be.
struct Release<'a>(&'a Hanging);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A service whose log is on the stage's own disk.
fn neighbour(stage: &Stage) -> String {
    let log = stage.at("neighbour.log");
    shell("neighbour", TICKER, &format!("log_file = \"{log}\""))
}

fn has_flooded(stage: &Stage) -> bool {
    stage.path("done").exists()
}

/// Commands are answered at once, and the neighbour's lines arrive in its file.
fn assert_the_rest_goes_on(stage: &Stage, daemon: &Daemon) {
    daemon.assert_answers_within(PROMPT);
    let size = || fs::metadata(stage.path("neighbour.log")).map_or(0, |file| file.len());
    let before = size();
    until("more lines of the neighbour", PATIENCE, || {
        (size() > before).then_some(())
    });
}

/// The numbers of the lines in a file, all of which are whole.
fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |line: &str| {
        let rest = line.strip_prefix("line ").filter(|rest| rest.len() == 90);
        let rest = rest.unwrap_or_else(|| panic!("{line:?} in {path:?}"));
        rest[..9].parse().unwrap()
    };
    text.lines().map(number).collect()
}

fn assert_none_is_missing(numbers: &[u64]) {
    assert_eq!(numbers.first(), Some(&1));
    let gap = numbers.windows(2).find(|two| two[1] != two[0] + 1);
    assert_eq!(gap, None);
}

fn count_in(text: &str) -> u64 {
    let word = text
        .split([' ', ';'])
        .find_map(|word| word.replace(',', "").parse().ok());
    word.unwrap()
}

#[test]
fn a_service_that_may_block_waits_for_a_hanging_log_file_and_loses_nothing() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    mount.hang(&[Op::Write]);
    let config = flood(&stage, &mount.at("web.log"), "") + &neighbour(&stage);
    let mut daemon = Launch::on(&stage).config(config).start();
    let _release = Release(&mount);
    let pid = daemon.pid_of("flood");
    mount.wait_until_one_hangs();
    daemon.err.wait_for("web.log does not answer", PATIENCE);
    assert_the_rest_goes_on(&stage, &daemon);
    assert!(
        daemon
            .row("flood")
            .detail()
            .contains("web.log does not answer")
    );
    let status = daemon.cli_ok(&["status", "flood"]);
    assert!(status.contains("web.log does not answer"), "{status}");
    assert!(!has_flooded(&stage), "it should wait");
    mount.release();
    daemon.err.wait_for("web.log answers again", PATIENCE);
    until("the rest of the flood", PATIENCE, || {
        has_flooded(&stage).then_some(())
    });
    until("no word of it", PATIENCE, || {
        (!daemon.row("flood").detail().contains("answer")).then_some(())
    });
    assert_eq!(daemon.pid_of("flood"), pid);
    daemon.shut_down();
    let numbers = numbers(&mount.behind("web.log"));
    assert!(numbers.len() as u64 >= FLOOD_LINES);
    assert_none_is_missing(&numbers);
    assert!(!daemon.said().contains("missing"), "{}", daemon.said());
}

#[test]
fn a_service_that_drops_goes_on_and_its_missing_lines_are_counted() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    mount.hang(&[Op::Write]);
    let log = mount.at("web.log");
    let config = flood(&stage, &log, "overflow = \"drop\"") + &neighbour(&stage);
    let mut daemon = Launch::on(&stage).config(config).start();
    let _release = Release(&mount);
    until("the whole flood", PATIENCE, || {
        has_flooded(&stage).then_some(())
    });
    daemon
        .err
        .wait_for("web.log: it does not answer; lines are missing", PATIENCE);
    assert_the_rest_goes_on(&stage, &daemon);
    mount.release();
    let told = daemon.err.wait_for("web.log works again; ", PATIENCE);
    let missing = count_in(told.split_once("again; ").unwrap().1);
    daemon.shut_down();
    let numbers = numbers(&mount.behind("web.log"));
    assert!(numbers.windows(2).all(|two| two[1] > two[0]));
    let last = *numbers.last().unwrap();
    assert!(last > FLOOD_LINES, "{last}");
    assert_eq!(last - numbers.len() as u64, missing, "{told}");
}

/// A service floods a log file whose mount hangs; the rest goes on, and so does the file once the mount answers.
fn flood_while_it_hangs(operations: &[Op], more: &str, check: impl FnOnce(&Hanging, &Daemon)) {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    mount.hang(operations);
    let config = flood(&stage, &mount.at("web.log"), more) + &neighbour(&stage);
    let mut daemon = Launch::on(&stage).config(config).start();
    let _release = Release(&mount);
    mount.wait_until_one_hangs();
    daemon.err.wait_for("web.log does not answer", PATIENCE);
    assert_the_rest_goes_on(&stage, &daemon);
    mount.release();
    until("the flood", PATIENCE, || has_flooded(&stage).then_some(()));
    daemon.shut_down();
    check(&mount, &daemon);
}

/// One file that cannot be opened holds up no other one that is to be opened after it.
#[test]
fn a_log_file_whose_opening_hangs_holds_up_no_other() {
    flood_while_it_hangs(&[Op::Create, Op::Open], "", |mount, _| {
        assert_none_is_missing(&numbers(&mount.behind("web.log")));
    });
}

#[test]
fn log_files_are_opened_again_though_one_of_them_hangs() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    let config = flood(&stage, &mount.at("web.log"), "") + &neighbour(&stage);
    let mut daemon = Launch::on(&stage).config(config).start();
    let _release = Release(&mount);
    until("the flood", PATIENCE, || has_flooded(&stage).then_some(()));
    fs::rename(mount.behind("web.log"), mount.behind("web.log.1")).unwrap();
    let local = stage.path("neighbour.log");
    fs::rename(&local, stage.path("neighbour.log.1")).unwrap();
    mount.hang(&[Op::Open, Op::Create, Op::Lookup, Op::Write]);
    daemon.signal(Signal::SIGUSR2);
    until("the neighbour's file made again", PATIENCE, || {
        local.exists().then_some(())
    });
    daemon.err.wait_for("web.log does not answer", PATIENCE);
    assert_the_rest_goes_on(&stage, &daemon);
    mount.release();
    until("the other file made again", PATIENCE, || {
        let size = fs::metadata(mount.behind("web.log")).map_or(0, |file| file.len());
        (size > 0).then_some(())
    });
    daemon.shut_down();
    let mut all = numbers(&mount.behind("web.log.1"));
    all.extend(numbers(&mount.behind("web.log")));
    assert_none_is_missing(&all);
}

fn assert_a_rotation_may_hang(operations: &[Op]) {
    let more = "max_size = \"1MiB\"\nkeep = 20";
    flood_while_it_hangs(operations, more, |mount, daemon| {
        assert!(!daemon.said().contains("missing"), "{}", daemon.said());
        assert!(
            fs::read_dir(mount.behind("")).unwrap().count() > 5,
            "it was rotated"
        );
    });
}

#[test]
fn a_rotation_that_hangs_costs_nothing() {
    assert_a_rotation_may_hang(&[Op::Rename, Op::Unlink]);
}

#[test]
fn a_compression_that_hangs_costs_nothing() {
    assert_a_rotation_may_hang(&[Op::Read]);
}

#[test]
fn the_end_waits_a_moment_for_what_hangs_and_counts_what_is_lost() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    mount.hang(&[Op::Write]);
    let config = "[timeouts]\nservice_shutdown_timeout = 1\n\n".to_owned()
        + &flood(&stage, &mount.at("web.log"), "")
        + &neighbour(&stage);
    let mut daemon = Launch::on(&stage).config(config).start();
    let _release = Release(&mount);
    daemon.err.wait_for("web.log does not answer", PATIENCE);
    let began = Instant::now();
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let told = daemon
        .err
        .wait_for("lines could not be written to log file", PATIENCE);
    assert!(count_in(&told) > 500, "{told}");
    let text = fs::read_to_string(stage.path("neighbour.log")).unwrap();
    assert!(text.ends_with('\n') && text.starts_with("tick 1\n"));
}

/// A process that outlives its service makes PID 1 send SIGKILL to all that is left. The one that writes the log is not
/// among them.
#[test]
fn pid_1_lets_what_it_has_be_written_before_it_ends() {
    need_namespace!();
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    mount.hang(&[Op::Write]);
    let ready = stage.at("ready");
    let deaf = format!("trap '' TERM; echo >{ready}; while :; do sleep 1; done");
    let script = format!(
        "setsid sh -c \"{deaf}\" >/dev/null 2>&1 & until [ -e {ready} ]; do sleep 0.01; done; \
         echo one; echo two; exec sleep infinity"
    );
    let config = shell(
        "web",
        &script,
        &format!("log_file = \"{}\"", mount.at("web.log")),
    );
    let mut daemon = Launch::on(&stage).config(config).pid_one().start();
    let _release = Release(&mount);
    mount.wait_until_one_hangs();
    daemon.out.wait_for("[web] two", PATIENCE);
    daemon.sigterm();
    daemon.err.wait_for("SIGKILL to", PATIENCE);
    mount.release();
    daemon.wait_exit(PATIENCE);
    assert_eq!(fs::read(mount.behind("web.log")).unwrap(), b"one\ntwo\n");
}

#[test]
fn standard_output_on_a_mount_that_hangs_holds_up_nothing_but_its_lines() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    let out = mount.file("out", "");
    let writer = service(
        "flood",
        "/usr/bin/perl",
        &["-e", FLOOD, &stage.at("done")],
        "",
    );
    let quiet = neighbour(&stage) + "log_stdout = false\n";
    let mut daemon = Launch::on(&stage)
        .config(writer + &quiet)
        .shell_first(&format!("exec >>{out}"))
        .start();
    let _release = Release(&mount);
    until("the flood", PATIENCE, || has_flooded(&stage).then_some(()));
    mount.hang(&[Op::Write]);
    daemon
        .err
        .wait_for("standard output does not answer", PATIENCE);
    assert_the_rest_goes_on(&stage, &daemon);
    mount.release();
    daemon
        .err
        .wait_for("standard output answers again", PATIENCE);
    daemon.shut_down();
    let text = fs::read_to_string(mount.behind("out")).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let whole = payload(&lines, "flood").join("\n");
    let file = stage.file("lines", &whole);
    assert_none_is_missing(&numbers(Path::new(&file)));
}

#[test]
fn the_end_comes_though_standard_output_hangs() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    let out = mount.file("out", "");
    let mut daemon = Launch::on(&stage)
        .config(shell("web", TICKER, ""))
        .shell_first(&format!("exec >>{out}"))
        .start();
    let _release = Release(&mount);
    until("lines", PATIENCE, || {
        let text = fs::read(mount.behind("out")).unwrap_or_default();
        (!text.is_empty()).then_some(())
    });
    // Everything hangs now, whatever is asked of the file; but not close(2), which the kernel does for whatever ends.
    let mut all = Op::ALL.to_vec();
    all.retain(|operation| *operation != Op::Flush);
    mount.hang(&all);
    mount.wait_until_one_hangs();
    let began = Instant::now();
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    daemon.err.wait_for("written to standard output", PATIENCE);
}
