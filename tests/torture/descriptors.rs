//! The daemon has no descriptor left: its services and its clients want more than it may open.

use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::aftermath::{self, Level, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, PATIENCE, Stage, ask, until};

/// The limit, and services that fit into it, and services that do not.
const LIMIT: usize = 96;
const CORE: usize = 30;
const TOO_MANY: usize = 120;

#[test]
fn descriptors_run_out_and_come_back() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let off = format!("{RESTARTS}enabled = false\n");
    let services = Services::default()
        .sleepers("core", CORE, RESTARTS)
        .sleepers("more", TOO_MANY, &off);
    let patient = Patient::after_shell(Stage::new(), services, &format!("ulimit -n {LIMIT}"));
    let more: Vec<String> = (0..TOO_MANY)
        .map(|number| format!("more{number}"))
        .collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut held = Vec::new();
    let mut most = 0;
    choices.until_enough("few descriptors", 2 * crate::SHORT, |choices| {
        let socket = &patient.daemon.socket;
        // Whoever asks gets an answer, whatever the others hold; it may be that he comes too many.
        until("an answer while there are no descriptors", PATIENCE, || {
            let request = json!({"command": "start", "services": more, "no_wait": true});
            ask(socket, &request).ok()
        });
        for _ in 0..choices.below(40) {
            held.extend(UnixStream::connect(socket).ok());
        }
        if choices.below(3) == 0 {
            held.drain(..choices.below(held.len() as u64 + 1) as usize);
        }
        let children = children_of(&patient.daemon);
        for _ in 0..choices.below(5) {
            let child = choices.one_of(&children);
            let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
        }
        most = most.max(Level::of(&patient.daemon).descriptors);
        most > LIMIT * 3 / 4
    });
    eprintln!("{most} descriptors of {LIMIT}");
    assert!(most < LIMIT, "none was kept for who asks");
    let says = &patient.daemon.err;
    says.wait_for("oo many open files", PATIENCE);
    drop(held);
    // A stop that has to be refused for want of descriptors would be no way out.
    until("the stop of what is too many", PATIENCE, || {
        let request = json!({"command": "stop", "services": more});
        let answer = ask(&patient.daemon.socket, &request).ok()?;
        (answer["answer"] != "error").then_some(())
    });
    aftermath::check(patient, &mut choices);
}
