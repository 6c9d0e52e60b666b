//! As the first process of a container: a process namespace stands for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{
    Launch, PATIENCE, Stage, children, is_alive, payload, service, shell, sleeper, talker, until,
    zombies,
};

/// Each orphan's parent ends before it, so that PID 1 has to reap it.
const ORPHANS: &str = "use strict; $| = 1;
for my $n (1 .. $ARGV[0]) {
    my $child = fork // die 'cannot fork';
    if (!$child) {
        my $orphan = fork // die 'cannot fork';
        exit 0 if $orphan;
        select undef, undef, undef, 0.001;
        exit 0;
    }
    waitpid $child, 0;
}
print \"all forked\\n\";
sleep 1000000;
";

#[test]
fn of_ten_thousand_orphans_none_is_left_a_zombie() {
    need_namespace!();
    let stage = Stage::new();
    let script = stage.file("orphans.pl", ORPHANS);
    let config = service("forker", "/usr/bin/perl", &[&script, "10000"], "");
    let mut daemon = Launch::on(&stage).config(config).pid_one().start();
    daemon.out.wait_for("all forked", Duration::from_secs(120));
    let own = daemon.pid();
    until("only the service is left", PATIENCE, || {
        (children(own).len() == 1 && zombies(own).is_empty()).then_some(())
    });
    daemon.shut_down();
}

#[test]
fn the_daemon_is_pid_1_and_its_services_see_that() {
    need_namespace!();
    let stage = Stage::new();
    let config = shell("parent", "echo parent $PPID", "") + &sleeper("web", "");
    let mut daemon = Launch::on(&stage).config(config).pid_one().start();
    daemon.out.wait_for("parent 1", PATIENCE);
    daemon.shut_down();
}

#[test]
fn every_exit_code_of_the_main_program_is_the_containers() {
    need_namespace!();
    let stage = Stage::new();
    for code in 0..=255 {
        let script = format!("exit {code}");
        let ended = Launch::on(&stage)
            .main(&["sh", "-c", &script])
            .pid_one()
            .run_to_end();
        assert_eq!(ended.code, code, "{}", ended.err);
    }
}

#[test]
fn a_signal_that_ends_the_main_program_gives_128_and_its_number() {
    need_namespace!();
    let stage = Stage::new();
    for signal in [1, 2, 3, 6, 9, 11, 13, 14, 15] {
        let script = format!("kill -{signal} $$; sleep 10");
        let ended = Launch::on(&stage)
            .main(&["sh", "-c", &script])
            .pid_one()
            .run_to_end();
        assert_eq!(ended.code, 128 + signal, "{}", ended.err);
    }
}

#[test]
fn a_main_program_that_cannot_run_gives_127_or_126() {
    need_namespace!();
    let stage = Stage::new();
    let garbage = stage.program("garbage", "\u{1}\u{2}\u{3}");
    for (program, code) in [("/nonexistent/program", 127), (garbage.as_str(), 126)] {
        let ended = Launch::on(&stage).main(&[program]).pid_one().run_to_end();
        assert_eq!(ended.code, code, "{program}: {}", ended.err);
        assert!(ended.err.contains("cannot"), "{}", ended.err);
    }
}

#[test]
fn a_main_program_alone_needs_no_configuration() {
    need_namespace!();
    let stage = Stage::new();
    let words = ["printf", "<%s>\n", "two words", "--config", "-x"];
    let ended = Launch::on(&stage).main(&words).pid_one().run_to_end();
    // The main program's output is the container's own: nothing is put in front of it.
    assert_eq!(
        ended.out,
        ["<two words>", "<--config>", "<-x>"],
        "{}",
        ended.err
    );
    assert_eq!(ended.code, 0);
}

#[test]
fn the_main_program_reads_the_containers_own_input() {
    need_namespace!();
    let stage = Stage::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"through the daemon\n").unwrap();
    drop(writer);
    let ended = Launch::on(&stage)
        .main(&["cat"])
        .stdin(reader)
        .pid_one()
        .run_to_end();
    assert_eq!(ended.out, ["through the daemon"], "{}", ended.err);
    assert_eq!(ended.code, 0);
}

#[test]
fn the_main_program_runs_when_every_service_is_up_and_its_end_stops_them() {
    need_namespace!();
    let stage = Stage::new();
    let prepared = stage.at("prepared");
    let pre = format!("pre_script = \"#!/bin/sh\\nsleep 0.3; touch {prepared}\\n\"");
    let config = talker("db", &pre)
        + &shell("migrate", "echo migrated", "depends_on = \"db\"")
        + &sleeper("off", "enabled = false");
    let ended = Launch::on(&stage)
        .config(config)
        .main(&[
            "sh",
            "-c",
            &format!("[ -e {prepared} ] && echo main runs; sleep 0.5; exit 9"),
        ])
        .pid_one()
        .run_to_end();
    assert_eq!(ended.code, 9, "{}", ended.err);
    let at = |text: &str| {
        let found = ended.out.iter().position(|line| line.ends_with(text));
        found.unwrap_or_else(|| panic!("no {text:?} in {:?}", ended.out))
    };
    assert!(at("main runs") < at("db down"));
    assert_eq!(ended.out[at("main runs")], "main runs");
    at("migrated");
}

#[test]
fn sigterm_reaches_the_main_program_whose_answer_is_the_exit_code() {
    need_namespace!();
    let stage = Stage::new();
    let script = "trap 'echo told; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let mut daemon = Launch::on(&stage)
        .main(&["sh", "-c", script])
        .pid_one()
        .start_blindly();
    daemon.out.wait_for("up", PATIENCE);
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE), 5, "{}", daemon.said());
    daemon.out.wait_for("told", PATIENCE);
}

#[test]
fn sigquit_and_sigrtmin_3_stop_a_container() {
    need_namespace!();
    for number in [3, 37] {
        let stage = Stage::new();
        let config = talker("db", "") + &talker("web", "depends_on = \"db\"");
        let mut daemon = Launch::on(&stage).config(config).pid_one().start();
        daemon.out.wait_for("db up", PATIENCE);
        daemon.out.wait_for("web up", PATIENCE);
        daemon.signal_number(number);
        assert_eq!(daemon.wait_exit(PATIENCE), 0, "{}", daemon.said());
        daemon.out.wait_for_end(PATIENCE);
        let lines = daemon.out.all();
        let at = |text: &str| lines.iter().position(|line| line.ends_with(text)).unwrap();
        assert!(at("web down") < at("db down"));
    }
}

#[test]
fn strays_of_a_container_get_sigterm_and_then_sigkill() {
    need_namespace!();
    let stage = Stage::new();
    let polite = stage.program(
        "polite",
        &format!(
            "#!/bin/sh\ntrap 'echo term > {}; exit' TERM\necho > {}\nwhile :; do sleep 0.05; done\n",
            stage.at("got"),
            stage.at("polite-ready")
        ),
    );
    let deaf = stage.program(
        "deaf",
        &format!(
            "#!/bin/sh\ntrap '' TERM\necho > {}\nwhile :; do sleep 0.05; done\n",
            stage.at("deaf-ready")
        ),
    );
    let script = format!("(setsid {polite} &); (setsid {deaf} &); sleep infinity");
    let mut daemon = Launch::on(&stage)
        .config(shell("forker", &script, ""))
        .pid_one()
        .start();
    for ready in ["polite-ready", "deaf-ready"] {
        until(ready, PATIENCE, || stage.path(ready).exists().then_some(()));
    }
    let began = Instant::now();
    daemon.shut_down();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(stage.read("got"), "term\n");
}

#[test]
fn a_process_that_entered_the_container_is_no_reason_to_stay() {
    need_namespace!();
    need_root!();
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage)
        .config(sleeper("web", ""))
        .pid_one()
        .start();
    daemon.wait_state("web", "RUNNING");
    // As `docker exec` does.
    let mut guest = Command::new("nsenter")
        .args([
            "--pid",
            "--mount",
            "--target",
            &daemon.pid().to_string(),
            "sleep",
            "1000",
        ])
        .spawn()
        .unwrap();
    let entered = until("the guest", PATIENCE, || {
        children(guest.id().cast_signed()).first().copied()
    });
    assert!(is_alive(entered));
    let began = Instant::now();
    daemon.shut_down();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    until("the guest's end", PATIENCE, || guest.try_wait().unwrap());
    assert!(!is_alive(entered));
}

#[test]
fn beside_another_init_it_adopts_and_stops_the_same() {
    need_namespace!();
    let stage = Stage::new();
    let script = "(setsid sleep 0.1 &); (setsid sleep 1000 &); echo forked; sleep infinity";
    let config = shell("forker", script, "");
    // A shell is PID 1 here and the daemon its child.
    let mut daemon = Launch::on(&stage)
        .config(config)
        .pid_one()
        .shell_first("\"$@\"; exit $?")
        .start();
    daemon.out.wait_for("forked", PATIENCE);
    let own = children(daemon.pid())[0];
    until("one orphan and no zombie", PATIENCE, || {
        (children(own).len() == 2 && zombies(own).is_empty()).then_some(())
    });
    let everything = daemon.everything();
    kill(Pid::from_raw(own), Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait_exit(PATIENCE), 0, "{}", daemon.said());
    assert_eq!(everything.alive(), [0; 0]);
}

#[test]
fn a_second_daemon_in_the_same_container_starts_nothing() {
    need_namespace!();
    let stage = Stage::new();
    let marker = stage.at("started");
    let mut daemon = Launch::on(&stage)
        .config(sleeper("web", ""))
        .pid_one()
        .start();
    daemon.wait_state("web", "RUNNING");
    let pid = daemon.pid_of("web");
    let second = stage.file("second.toml", &shell("b", &format!("touch {marker}"), ""));
    let output = daemon.cli(&["--no-install", "--config", &second]);
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("already running"), "{said}");
    assert_eq!(daemon.pid_of("web"), pid);
    assert!(!stage.path("started").exists());
    daemon.shut_down();
}

#[test]
fn a_failed_required_service_ends_the_container_with_its_code() {
    need_namespace!();
    let stage = Stage::new();
    let config = talker("db", "")
        + &shell(
            "web",
            "echo trying; exit 23",
            "required = true\ndepends_on = \"db\"",
        );
    let ended = Launch::on(&stage).config(config).pid_one().run_to_end();
    assert_eq!(ended.code, 23, "{}", ended.err);
    assert_eq!(payload(&ended.out, "web"), ["trying"]);
}

#[test]
fn it_runs_with_every_capability_dropped() {
    need_namespace!();
    need_root!();
    let stage = Stage::new();
    let config = sleeper("web", "");
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first("exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"")
        .pid_one()
        .start();
    daemon.wait_state("web", "RUNNING");
    daemon.shut_down();
}

#[test]
fn it_runs_on_a_read_only_root_file_system() {
    need_namespace!();
    need_root!();
    let stage = Stage::new();
    let root = stage.at("");
    let config = talker("web", "pre_script = \"#!/bin/sh\\necho prepared\\n\"");
    // Only the socket's folder stays writable.
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first(&format!(
            "mount --bind {root}/control {root}/control && mount -o remount,bind,ro / || exit 99"
        ))
        .pid_one()
        .start();
    daemon.out.wait_for("prepared", PATIENCE);
    daemon.out.wait_for("web up", PATIENCE);
    let probe = Command::new("nsenter")
        .args([
            "--mount",
            "--target",
            &daemon.pid().to_string(),
            "touch",
            &stage.at("probe"),
        ])
        .output();
    assert!(
        !probe.unwrap().status.success(),
        "the file system is writable"
    );
    daemon.shut_down();
}

#[test]
fn without_a_terminal_to_be_had_services_get_pipes_and_a_warning() {
    need_namespace!();
    need_root!();
    let stage = Stage::new();
    let script = "if [ -t 1 ]; then echo on a terminal; else echo on a pipe; fi; sleep infinity";
    let mut daemon = Launch::on(&stage)
        .config(shell("web", script, ""))
        .shell_first("mount -t tmpfs none /dev/pts || exit 99")
        .pid_one()
        .start();
    daemon.out.wait_for("on a pipe", PATIENCE);
    daemon.err.wait_for("using pipes instead", PATIENCE);
    daemon.shut_down();
}

#[test]
fn it_runs_in_an_empty_image() {
    need_namespace!();
    need_root!();
    let busybox = need!("busybox");
    let stage = Stage::new();
    // No /dev, /proc, /etc or /tmp: nothing but the two programs and the configuration.
    stage.copy_of(support::PROGRAM, "go-overlay");
    stage.copy_of(busybox, "busybox");
    let script = "trap 'echo down; exit 0' TERM; echo up; while :; do /busybox sleep 0.1; done";
    let config = service("web", "/busybox", &["sh", "-c", script], "")
        + &service(
            "once",
            "/busybox",
            &["echo", "done"],
            "depends_on = \"web\"",
        );
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first(&format!(
            "exec chroot {} /go-overlay --no-install --config /services.toml \
             --socket /control/go-overlay.sock",
            stage.at("")
        ))
        .pid_one()
        .start();
    daemon.out.wait_for("up", PATIENCE);
    daemon.wait_state("once", "STOPPED");
    daemon.out.wait_for("done", PATIENCE);
    daemon.shut_down();
    daemon.out.wait_for("down", PATIENCE);
}

#[test]
fn a_rust_program_runs_where_there_is_no_dev() {
    need_namespace!();
    need_root!();
    let stage = Stage::new();
    stage.copy_of(support::PROGRAM, "go-overlay");
    // Rust's start-up opens /dev/null for each closed standard descriptor, and aborts where it cannot.
    let config = service("piped", "/go-overlay", &["version"], "tty = false")
        + &service("default", "/go-overlay", &["version"], "stdin = \"null\"");
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first(&format!(
            "exec chroot {} /go-overlay --no-install --config /services.toml \
             --socket /control/go-overlay.sock",
            stage.at("")
        ))
        .pid_one()
        .start();
    for name in ["piped", "default"] {
        let row = daemon.wait_state(name, "STOPPED");
        assert_eq!(row.detail(), "completed", "{}", daemon.said());
    }
    daemon.shut_down();
    let version = format!("go-overlay {}", env!("CARGO_PKG_VERSION"));
    for name in ["piped", "default"] {
        assert_eq!(payload(&daemon.out.all(), name), [version.as_str()]);
    }
}
