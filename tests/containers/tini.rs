//! What tini's own tests ask of an init for one program (<https://github.com/krallin/tini>, `test/`), asked of
//! this one, with Docker in between: `docker run image -- PROGRAM` and no `services.toml`.

use super::support::{BUSYBOX, PATIENCE, children, is_alive, until, zombies};

/// Orphans of several generations, each left by a parent that ends first: all are adopted and reaped, and the
/// program is the only child in the end.
#[test]
fn orphans_of_every_generation_are_reaped() {
    let engine = engine!();
    let generations = "for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c '(sleep 0.2; sh -c \"sleep 0.1 &\") &' &) ; done; \
                       echo all left; exec sleep 1000";
    for options in [&[][..], &["--init"], &["--pid", "host"]] {
        let container = engine.run(&[options, &[BUSYBOX, "--", "sh", "-c", generations]].concat());
        container.wait_for("all left");
        let first: i32 = container.inspect("{{.State.Pid}}").parse().unwrap();
        // Beside another init the daemon is its child.
        let daemon = match options {
            ["--init"] => children(first)[0],
            _ => first,
        };
        until("one child and no zombie", PATIENCE, || {
            (children(daemon).len() == 1 && zombies(daemon).is_empty()).then_some(())
        });
        container.kill("TERM");
        assert_eq!(container.wait(), 143, "{options:?}");
        assert!(!is_alive(daemon));
    }
}

/// Each signal reaches the program, whose end by it is told as a shell does.
#[test]
fn a_program_that_a_signal_ends_gives_128_and_its_number() {
    let engine = engine!();
    for (signal, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
    ] {
        let container = engine.run(&[BUSYBOX, "--", "sh", "-c", "echo up; exec sleep 1000"]);
        container.wait_for("up");
        container.kill(signal);
        assert_eq!(container.wait(), 128 + number, "{signal}");
    }
}

/// A program that takes a signal decides what it means.
#[test]
fn a_program_that_handles_a_signal_goes_on() {
    let engine = engine!();
    let script = "for s in HUP USR1 USR2 WINCH CONT; do trap \"echo got $s\" $s; done; \
                  trap 'echo got TERM; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let container = engine.run(&[BUSYBOX, "--", "sh", "-c", script]);
    container.wait_for("up");
    for signal in ["HUP", "USR1", "USR2"] {
        container.kill(signal);
        container.wait_for(&format!("got {signal}"));
    }
    container.kill("TERM");
    assert_eq!(container.wait(), 5);
}

#[test]
fn every_exit_code_is_passed_on() {
    let engine = engine!();
    let code_of = |words: &[&str]| {
        let output =
            engine.docker(&[&["run", "--rm", "--network", "none", BUSYBOX, "--"], words].concat());
        output.status.code().unwrap()
    };
    for code in [0, 1, 2, 42, 126, 127, 128, 143, 255] {
        assert_eq!(code_of(&["sh", "-c", &format!("exit {code}")]), code);
    }
    assert_eq!(code_of(&["no-such-program"]), 127);
    assert_eq!(code_of(&["/etc/passwd"]), 126);
    assert_eq!(code_of(&["/"]), 126);
}

/// The program begins with the signals as the engine left them (it leaves signal 32 ignored), as one without an init
/// does.
#[test]
fn a_program_begins_with_the_signals_as_the_engine_left_them() {
    let engine = engine!();
    let words = ["^Sig[BIC]", "/proc/self/status"];
    let run = |options: &[&str], before: &[&str]| {
        let image = [BUSYBOX];
        let fixed = ["run", "--rm", "--network", "none"];
        engine.ok(&[&fixed[..], options, &image, before, &words].concat())
    };
    let without_init = run(&["--entrypoint", "grep"], &[]);
    assert_eq!(run(&[], &["--", "grep"]), without_init);
}

/// What the program leaves behind does not keep the container, as with `tini -g`.
#[test]
fn nothing_that_it_started_stays() {
    let engine = engine!();
    let script = "trap 'exit 0' TERM; (trap '' TERM HUP; sleep 1000) & sleep 1000 & echo up; wait";
    let container = engine.run(&[BUSYBOX, "--", "sh", "-c", script]);
    container.wait_for("up");
    let first: i32 = container.inspect("{{.State.Pid}}").parse().unwrap();
    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    assert!(!is_alive(first));
}

/// Without an input, and with one that is closed, it runs the same.
#[test]
fn the_programs_input_is_the_containers() {
    let engine = engine!();
    let output = engine.docker(&["run", "--rm", "--network", "none", BUSYBOX, "--", "cat"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}
