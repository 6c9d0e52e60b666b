//! `docker run` with and without a terminal, `docker attach`, and Ctrl-C.

use super::support::{Engine, Seat, shell, talker};
use super::{is_running, three, wait_until_up};

const CTRL_C: &str = "\x03";
/// Something to be seen by whoever has just attached.
const TICKS: &str = "while sleep 0.1; do echo tick; done";
const CTRL_P_CTRL_Q: &str = "\x10\x11";

/// `docker run` in the foreground, with these options, by a person at a terminal.
fn run(engine: &Engine, options: &[&str], image: &str) -> Seat {
    let words = [&["run", "--network", "none"], options, &[image]].concat();
    Seat::of(&engine.command(&words), 100, 30)
}

#[test]
fn ctrl_c_shuts_down_in_order_with_and_without_a_terminal() {
    let engine = engine!();
    let image = three(&engine);
    // With the container's terminal the key goes to it; without, the client passes the signal on.
    for options in [
        &["--tty", "--interactive"][..],
        &["--tty"],
        &["--interactive"],
        &[],
    ] {
        let mut person = run(&engine, options, &image);
        person.sees("web up");
        person.types(CTRL_C);
        person.sees("web down");
        person.sees("app down");
        person.sees("db down");
        assert_eq!(person.leaves().0, 0, "{options:?}");
    }
}

#[test]
fn colours_only_for_a_terminal() {
    let engine = engine!();
    let image = three(&engine);
    for (option, coloured) in [("--tty", true), ("--interactive", false)] {
        let mut person = run(&engine, &[option], &image);
        person.sees("web up");
        person.types(CTRL_C);
        let (_, rest) = person.leaves();
        assert_eq!(rest.contains("\x1b["), coloured, "{option}: {rest:?}");
    }
}

#[test]
fn attached_detached_and_ended_by_a_key() {
    let engine = engine!();
    let services = talker("db", "")
        + &shell("ticks", TICKS, "")
        + &shell(
            "size",
            "trap 'stty size' WINCH; echo watches; while :; do sleep 0.1; done",
            "",
        );
    let container = engine.run(&["--tty", "--interactive", &engine.image("ticks", &services)]);
    container.wait_for("tick");
    container.wait_for("watches");
    let attach = engine.command(&["attach", &container.id]);
    let mut person = Seat::of(&attach, 120, 40);
    // Who attaches brings a terminal's size, and the services' terminals take it, but for the name in front.
    person.sees("40 112");
    person.types(CTRL_P_CTRL_Q);
    person.leaves();
    assert!(is_running(&container));
    wait_until_up(&container);
    let mut person = Seat::of(&attach, 100, 30);
    person.sees("tick");
    person.types(CTRL_C);
    person.sees("db down");
    assert_eq!(person.leaves().0, 0);
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn attached_to_a_container_without_a_terminal() {
    let engine = engine!();
    let services = talker("db", "") + &shell("ticks", TICKS, "");
    let container = engine.run(&[&engine.image("plain-ticks", &services)]);
    container.wait_for("tick");
    let mut person = Seat::of(&engine.command(&["attach", &container.id]), 80, 24);
    person.sees("[ticks] tick");
    // The client passes the signal on.
    person.types(CTRL_C);
    person.sees("db down");
    assert_eq!(person.leaves().0, 0);
}

#[test]
fn a_shell_as_main_program_is_a_shell() {
    let engine = engine!();
    let words = ["--tty", "--interactive", super::support::BUSYBOX, "--"];
    let (image, options) = ("sh", &words[..]);
    let mut person = run(&engine, options, image);
    // Ctrl-C ends what runs in front, and not the shell; it knows the terminal's size, which Docker's client sets
    // only after the start.
    person.types("until stty size | grep ^30; do sleep 0.1; done\n");
    person.sees("30 100");
    // What says that it is ready is in front already.
    person.types("sh -c 'echo ready; exec sleep 1000'\n");
    person.sees("ready\r\n");
    person.types(CTRL_C);
    person.types("echo it was $?\n");
    person.sees("it was 130");
    person.types("sleep 1000 & jobs\n");
    person.sees("sleep 1000");
    person.types("exit 7\n");
    assert_eq!(person.leaves().0, 7);
}
