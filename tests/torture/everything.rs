//! Everything at once, to services of every kind.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::aftermath::{self, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage, ask};

const COUNT: usize = 200;

/// Ready when it says so, in either way.
const LOGS: &str = "echo up and ready; sleep infinity & wait";
const NEWLINE: &str = "echo >&3; exec 3>&-; sleep infinity & wait";

/// Layers of ten: each service depends on two of the layer before, and is of one kind in seven.
fn services() -> Services {
    let mut services = Services::default();
    for number in 0..COUNT {
        let name = format!("s{number}");
        let mut more = RESTARTS.to_owned();
        if number >= 10 {
            let layer = number / 10 * 10 - 10;
            let on = [layer + number % 10, layer + (number + 3) % 10];
            more += &format!("depends_on = [\"s{}\", \"s{}\"]\n", on[0], on[1]);
        }
        let own = (number + 1).to_string();
        let sleep = ["infinity", own.as_str()];
        let logs = ["-c", LOGS, name.as_str()];
        let newline = ["-c", NEWLINE, name.as_str()];
        let (command, args): (&str, &[&str]) = match number % 7 {
            0 => {
                more += "pre_script = \"#!/bin/sh\\n:\\n\"\n";
                ("/bin/sleep", &sleep)
            }
            1 => {
                more += "pos_script = \"#!/bin/sh\\n:\\n\"\n";
                ("/bin/sleep", &sleep)
            }
            2 => {
                more += "ready = { log = \"and ready\" }\n";
                ("/bin/sh", &logs)
            }
            3 => {
                more += "ready = { fd = 3 }\n";
                ("/bin/sh", &newline)
            }
            4 => {
                more += "tty = false\n";
                ("/bin/sleep", &sleep)
            }
            5 => {
                more += "[services.health]\nexec = [\"/bin/true\"]\ninterval = \"1s\"\n";
                ("/bin/sleep", &sleep)
            }
            _ => ("/bin/sleep", &sleep),
        };
        services.add(&name, command, args, &more);
    }
    services
}

fn happen(patient: &Patient, hidden: &mut bool, held: &mut Vec<UnixStream>, choices: &mut Choices) {
    let daemon = &patient.daemon;
    match choices.below(10) {
        0..4 => {
            let children = children_of(daemon);
            for _ in 0..choices.below(40).min(children.len() as u64) {
                let child = choices.one_of(&children);
                let signal = *choices.one_of(&[Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGCONT]);
                let _ = kill(Pid::from_raw(child.outer), signal);
            }
        }
        4 => {
            let change = match *hidden {
                true => "umount /dev/ptmx",
                false => "mount --bind /dev/null /dev/ptmx",
            };
            patient.change_mounts(change);
            *hidden = !*hidden;
        }
        5 => {
            daemon.signal(Signal::SIGSTOP);
            // Not a wait for anything: the length of the suspension.
            std::thread::sleep(Duration::from_millis(choices.below(300)));
            daemon.signal(Signal::SIGCONT);
        }
        6 => {
            held.extend(
                (0..choices.below(30)).filter_map(|_| UnixStream::connect(&daemon.socket).ok()),
            );
            held.drain(..choices.below(held.len() as u64 + 1) as usize);
        }
        7 => daemon.signal(*choices.one_of(&[
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGHUP,
            Signal::SIGWINCH,
        ])),
        _ => {
            let some = 1 + choices.below(20);
            let (command, count) =
                *choices.one_of(&[("restart", some), ("stop", 2), ("start", 10 * COUNT as u64)]);
            let names: Vec<String> = (0..count)
                .map(|_| format!("s{}", choices.below(COUNT as u64)))
                .collect();
            let request = json!({"command": command, "services": names, "no_wait": true});
            // Somebody who holds a place may have to go for it; the answer itself may be a refusal.
            let _ = ask(&daemon.socket, &request);
        }
    }
}

#[test]
fn everything_at_once() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let patient = Patient::after_shell(Stage::new(), services(), "ulimit -n 400");
    let (mut hidden, mut held) = (false, Vec::new());
    let times = choices.for_a_while(2 * crate::SHORT, |choices| {
        happen(&patient, &mut hidden, &mut held, choices);
    });
    eprintln!("{times} things happened");
    if hidden {
        patient.change_mounts("umount /dev/ptmx");
    }
    drop(held);
    // What was stopped with SIGSTOP goes on, and what got pipes gets its terminal back.
    for child in children_of(&patient.daemon) {
        let _ = kill(Pid::from_raw(child.outer), Signal::SIGCONT);
    }
    patient.daemon.cli(&["restart", "--all"]);
    aftermath::check(patient, &mut choices);
}
