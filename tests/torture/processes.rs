//! No process can be started any more: the control group of the daemon is full (pids.max).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::aftermath::{self, children_of};
use crate::control_group::ControlGroup;
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage, say_skipped};

const CORE: usize = 60;
const TOO_MANY: usize = 100;

/// The core and itself, and a few.
const LIMIT: usize = CORE + 20;

#[test]
fn processes_run_out_and_come_back() {
    need_pid_one!();
    let Some(group) = ControlGroup::new("pids") else {
        return say_skipped("no control group with a pids controller can be made here");
    };
    group.set("pids.max", &LIMIT.to_string());
    let mut choices = Choices::from_environment();
    let scripts = "pre_script = \"#!/bin/sh\\n:\\n\"\n";
    let off = format!("{RESTARTS}enabled = false\n");
    let services = Services::default()
        .sleepers("core", CORE - 5, RESTARTS)
        .sleepers("prepared", 5, &format!("{RESTARTS}{scripts}"))
        .sleepers("more", TOO_MANY, &off);
    let patient = Patient::after_shell(Stage::new(), services, &group.enter());
    let more: Vec<String> = (0..TOO_MANY)
        .map(|number| format!("more{number}"))
        .collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let says = &patient.daemon.err;
    choices.until_enough("no further process", crate::SHORT, |choices| {
        patient.tell("start", &more);
        let children = children_of(&patient.daemon);
        for _ in 0..choices.below(20) {
            let child = choices.one_of(&children);
            let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
        }
        says.count("cannot start a process") > 0
    });
    patient.tell("stop", &more);
    aftermath::check(patient, &mut choices);
}
