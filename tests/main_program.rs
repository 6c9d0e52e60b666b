//! A main program, `go-overlay -- PROGRAM`: its signals, the shell that started it, and what the daemon says.
//! As the first process of a container (a process namespace stands for it) and as an ordinary process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{
    Launch, PATIENCE, PROGRAM, Seat, Stage, children, descendants, payload, send, sleeper,
    state_of, until,
};

/// Signals that the daemon answers itself when only a main program is supervised, and those that no process can take.
const NOT_PASSED_ON: [i32; 7] = [2, 3, 9, 15, 17, 19, 37];

/// Both as PID 1 and as an ordinary process.
fn either_way(launch: Launch<'_>, as_pid_one: bool) -> Launch<'_> {
    match as_pid_one {
        true => launch.pid_one(),
        false => launch,
    }
}

#[test]
fn every_signal_reaches_the_main_program() {
    need_namespace!();
    // The C library keeps 32 and 33 to itself: no program takes them.
    let numbers: Vec<i32> = (1..=64)
        .filter(|number| !NOT_PASSED_ON.contains(number) && ![32, 33].contains(number))
        .collect();
    let words: Vec<String> = numbers.iter().map(i32::to_string).collect();
    let script = format!(
        "for n in {}; do trap \"echo got $n.\" $n; done; echo up; while :; do sleep 0.02; done",
        words.join(" ")
    );
    for as_pid_one in [true, false] {
        let stage = Stage::new();
        let launch = Launch::on(&stage).main(&["bash", "-c", &script]);
        let daemon = either_way(launch, as_pid_one).start_blindly();
        daemon.out.wait_for("up", PATIENCE);
        for number in &numbers {
            daemon.signal_number(*number);
            daemon.out.wait_for(&format!("got {number}."), PATIENCE);
        }
        assert_eq!(daemon.err.text(), "");
    }
}

#[test]
fn a_main_program_without_handlers_ends_by_the_signal_that_the_daemon_got() {
    need_namespace!();
    // Those whose default action is to end the process (signal(7)).
    let stay = [17, 18, 19, 20, 21, 22, 23, 28];
    let is_ignored = |number: i32| ignored_here() & (1 << (number - 1)) != 0;
    let ends = |number: &i32| !stay.contains(number) && *number != 9 && !is_ignored(*number);
    for number in (1..=64).filter(ends) {
        let stage = Stage::new();
        let launch = Launch::on(&stage).main(&["sh", "-c", "echo up; exec sleep 1000"]);
        let mut daemon = either_way(launch, number % 2 == 0).start_blindly();
        daemon.out.wait_for("up", PATIENCE);
        // The shell has become `sleep`, which keeps no handler.
        program_of(daemon.pid());
        daemon.signal_number(number);
        assert_eq!(
            daemon.wait_exit(PATIENCE),
            128 + number,
            "{}",
            daemon.said()
        );
    }
}

/// The signals that a program which these tests start finds ignored; engines leave some so.
fn ignored_here() -> u64 {
    let grep = Command::new("grep")
        .args(["^SigIgn", "/proc/self/status"])
        .output()
        .unwrap();
    let line = String::from_utf8(grep.stdout).unwrap();
    let mask = line.split_whitespace().nth(1).unwrap();
    u64::from_str_radix(mask, 16).unwrap()
}

/// What the shell ignored stays ignored, and nothing else: as if the program had been started without the daemon.
#[test]
fn a_main_program_inherits_what_the_caller_ignored_and_a_service_does_not() {
    need_namespace!();
    let show = ["grep", "^Sig[BI]", "/proc/self/status"];
    let by_env = "exec env --ignore-signal=CHLD --block-signal=USR1 \"$@\"";
    for (ignored, mask, blocked) in [
        (":", 0, 0),
        ("trap '' 1", 1, 0),
        ("trap '' 2 3 13 14 64", 0x8000_0000_0000_3006, 0),
        (by_env, 0x1_0000, 0x200),
    ] {
        for as_pid_one in [true, false] {
            let stage = Stage::new();
            // The main program starts when the service is up, which it is after its script.
            let script = "pre_script = \"#!/bin/sh\\nexec grep ^Sig[BI] /proc/self/status\\n\"";
            let config = sleeper("service", script);
            let launch = Launch::on(&stage).config(config).shell_first(ignored);
            let launch = launch.main(&show);
            let ended = either_way(launch, as_pid_one).run_to_end();
            let none = "0000000000000000";
            let own = ended.out.iter().filter(|line| line.starts_with("Sig"));
            let expected = [
                format!("SigBlk:\t{blocked:016x}"),
                format!("SigIgn:\t{:016x}", mask | ignored_here()),
            ];
            assert!(own.eq(&expected), "{:?}\n{}", ended.out, ended.err);
            let service = payload(&ended.out, "service");
            assert_eq!(
                service,
                [format!("SigBlk:\t{none}"), format!("SigIgn:\t{none}")],
                "{ignored}"
            );
        }
    }
}

#[test]
fn nohup_protects_a_main_program_from_a_hang_up() {
    let stage = Stage::new();
    let script = "echo up; while ! [ -e \"$0\" ]; do sleep 0.02; done; echo survived";
    let launch = Launch::on(&stage).shell_first("trap '' HUP");
    let launch = launch.main(&["sh", "-c", script, &stage.at("go")]);
    let mut daemon = launch.start_blindly();
    daemon.out.wait_for("up", PATIENCE);
    let own = daemon.pid();
    for pid in [own, children(own)[0]] {
        kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    }
    stage.file("go", "");
    assert_eq!(daemon.wait_exit(PATIENCE), 0, "{}", daemon.said());
    daemon.out.wait_for("survived", PATIENCE);
}

#[test]
fn a_main_program_alone_is_all_that_is_heard() {
    need_namespace!();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -SEGV $$", 139),
        ("sleep 100 & exit 3", 3),
    ] {
        for as_pid_one in [true, false] {
            let stage = Stage::new();
            let launch = Launch::on(&stage).main(&["sh", "-c", script]);
            let ended = either_way(launch, as_pid_one).run_to_end();
            assert_eq!((ended.code, ended.err.as_str()), (code, ""), "{script}");
        }
    }
    let stage = Stage::new();
    let ended = Launch::on(&stage).main(&["/nonexistent"]).run_to_end();
    assert!(
        ended.err.contains("cannot find /nonexistent"),
        "{}",
        ended.err
    );
    // --debug reports everything, and with services the daemon reports as ever.
    let ended = Launch::on(&stage)
        .option("--debug")
        .main(&["true"])
        .run_to_end();
    assert!(
        ended.err.contains("main program: STARTING -> RUNNING"),
        "{}",
        ended.err
    );
    let launch = Launch::on(&stage).config(sleeper("web", ""));
    let ended = launch.main(&["true"]).run_to_end();
    assert!(
        ended
            .err
            .contains("shutting down within 30s: main program ended"),
        "{}",
        ended.err
    );
}

/// Of an interactive shell without start-up files, in which one types.
fn at_a_shell() -> Seat {
    let mut shell = Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "ready> ");
    let mut seat = Seat::of(&shell, 100, 30);
    seat.sees("ready> ");
    seat
}

/// The process of this name below another one.
fn find_below(root: i32, name: &str) -> Option<i32> {
    let is_named = |pid: &i32| {
        let path = format!("/proc/{pid}/comm");
        std::fs::read_to_string(path).is_ok_and(|comm| comm.trim_end() == name)
    };
    descendants(root).into_iter().find(is_named)
}

/// The program of a daemon, once it is `sleep`.
fn program_of(daemon: i32) -> i32 {
    until("sleep to run", PATIENCE, || find_below(daemon, "sleep"))
}

/// A daemon below a shell, and its program.
fn daemon_and_program(shell: i32) -> (i32, i32) {
    let daemon = until("a daemon", PATIENCE, || find_below(shell, "go-overlay"));
    (daemon, program_of(daemon))
}

#[test]
fn ctrl_z_and_fg_at_a_shell() {
    let _ = need!("bash");
    let mut seat = at_a_shell();
    seat.types(&format!("{PROGRAM} --no-install -- sleep 1000\n"));
    let (daemon, program) = daemon_and_program(seat.pid());
    for _ in 0..3 {
        seat.has_in_front(program);
        seat.types("\x1a");
        seat.sees("Stopped");
        seat.sees("ready> ");
        assert_eq!(
            (state_of(daemon), state_of(program)),
            ("T".into(), "T".into())
        );
        seat.types("fg\n");
        until("both to go on", PATIENCE, || {
            (state_of(daemon) == "S" && state_of(program) == "S").then_some(())
        });
    }
    // In the background the shell has the terminal, and the daemon leaves it there.
    seat.has_in_front(program);
    seat.types("\x1a");
    seat.sees("ready> ");
    seat.types("bg; echo back\n");
    seat.sees("back\r\n");
    until("both to go on", PATIENCE, || {
        (state_of(daemon) == "S" && state_of(program) == "S").then_some(())
    });
    seat.types("echo the shell reads\n");
    seat.sees("the shell reads\r\n");
    seat.types("fg\n");
    // To a job that runs already a shell gives the terminal without a word: the program gets it when it asks for it.
    seat.has_in_front(daemon);
    seat.types("\x03");
    seat.sees("ready> ");
    seat.types("echo code $?\n");
    seat.sees("code 130");
}

#[test]
fn a_background_job_leaves_the_shell_its_terminal_and_reads_from_it_after_fg() {
    let _ = need!("bash");
    let mut seat = at_a_shell();
    seat.types(&format!(
        "{PROGRAM} --no-install -- sh -c 'read line; echo got $line' &\n"
    ));
    seat.sees("ready> ");
    seat.types("echo the shell $((1 + 1)) reads\n");
    seat.sees("the shell 2 reads");
    // It wants to read and may not: the shell is informed as of any other job.
    until("the job to be stopped", PATIENCE, || {
        seat.types("jobs\n");
        seat.shows("Stopped").then_some(())
    });
    let daemon = until("a daemon", PATIENCE, || {
        find_below(seat.pid(), "go-overlay")
    });
    let program = until("its program", PATIENCE, || find_below(daemon, "sh"));
    seat.types("fg\n");
    seat.has_in_front(program);
    seat.types("a line\n");
    seat.sees("got a line");
    seat.sees("ready> ");
}

#[test]
fn a_script_has_its_terminal_back_after_the_main_program() {
    let _ = need!("bash");
    let stage = Stage::new();
    let script = stage.program(
        "script",
        &format!("#!/bin/sh\n{PROGRAM} --no-install -- true\necho 'your turn'\nread line\necho \"read $line\"\n"),
    );
    let mut seat = at_a_shell();
    seat.types(&format!("{script}\n"));
    seat.sees("your turn");
    seat.types("typed\n");
    seat.sees("read typed");
    // What a key stops is the whole job.
    let both = stage.program(
        "both",
        &format!("#!/bin/sh\n{PROGRAM} --no-install -- sleep 1000\n"),
    );
    seat.types(&format!("{both}\n"));
    let (_, program) = daemon_and_program(seat.pid());
    seat.has_in_front(program);
    seat.types("\x1a");
    seat.sees("Stopped");
    seat.types("fg\n");
    seat.has_in_front(program);
    seat.types("\x03");
    seat.sees("ready> ");
}

#[test]
fn in_a_pipeline_the_others_may_read_from_the_terminal() {
    let _ = need!("bash");
    let mut seat = at_a_shell();
    let asks = "sh -c 'read line </dev/tty; cat; echo \"got $line\"'";
    seat.types(&format!("{PROGRAM} --no-install -- echo piped | {asks}\n"));
    let other = until("the other program", PATIENCE, || {
        find_below(seat.pid(), "sh")
    });
    seat.has_in_front(other);
    seat.types("a key\n");
    seat.sees("piped");
    seat.sees("got a key");
}

/// Where no shell is there to continue it, the key that stops does not leave a program that no key can end.
#[test]
fn without_a_shell_ctrl_z_has_no_lasting_effect() {
    need_namespace!();
    let _ = need!("perl");
    for key in ["\x03", "\x1c"] {
        for pid_one in [true, false] {
            let mut command = Command::new(if pid_one { "unshare" } else { "env" });
            if pid_one {
                command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
            }
            // No shell: one that starts a program with vfork(2) cannot stop before that is done.
            let script = "$SIG{CONT} = sub { print \"continued\\n\" }; $| = 1; print \"up\\n\"; sleep 1 while 1";
            command.args([PROGRAM, "--no-install", "--", "perl", "-e", script]);
            let mut seat = Seat::of(&command, 80, 24);
            seat.sees("up");
            for _ in 0..2 {
                seat.types("\x1a");
                seat.sees("continued");
            }
            seat.types(key);
            let (code, _) = seat.leaves();
            assert_eq!(code, if key == "\x03" { 130 } else { 131 });
        }
    }
}

/// SIGSTOP is meant; what ends a program ends a stopped one too.
#[test]
fn a_stopped_main_program_hears_what_would_end_it() {
    need_namespace!();
    for (number, stop) in [(1, 19), (2, 19), (3, 19), (15, 19), (1, 20), (15, 20)] {
        for as_pid_one in [true, false] {
            let stage = Stage::new();
            let launch = Launch::on(&stage).shell_first("exec setsid --wait \"$@\"");
            let launch = launch.main(&["sh", "-c", "echo up; exec sleep 1000"]);
            let mut daemon = either_way(launch, as_pid_one).start_blindly();
            daemon.out.wait_for("up", PATIENCE);
            let own = daemon.pid();
            let program = program_of(own);
            match stop {
                19 => kill(Pid::from_raw(program), Signal::SIGSTOP).unwrap(),
                _ => kill(Pid::from_raw(own), Signal::SIGTSTP).unwrap(),
            }
            until("it to be stopped", PATIENCE, || {
                (state_of(program) == "T").then_some(())
            });
            send(own, number);
            assert_eq!(
                daemon.wait_exit(PATIENCE),
                128 + number,
                "{}",
                daemon.said()
            );
        }
    }
}

/// A stop that was sent to the daemon lasts until SIGCONT is sent to it.
#[test]
fn stop_and_continue_are_passed_on() {
    need_namespace!();
    for as_pid_one in [true, false] {
        let stage = Stage::new();
        let launch = Launch::on(&stage).main(&["sh", "-c", "echo up; exec sleep 1000"]);
        let mut daemon = either_way(launch, as_pid_one).start_blindly();
        daemon.out.wait_for("up", PATIENCE);
        let program = program_of(daemon.pid());
        for stop in [20, 21, 22] {
            daemon.signal_number(stop);
            until("it to be stopped", PATIENCE, || {
                (state_of(program) == "T").then_some(())
            });
            daemon.signal_number(18);
            until("it to go on", PATIENCE, || {
                (state_of(program) == "S").then_some(())
            });
        }
        daemon.sigterm();
        assert_eq!(daemon.wait_exit(PATIENCE), 143, "{}", daemon.said());
    }
}
