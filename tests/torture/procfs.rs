//! /proc is not there, and comes back.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::aftermath::{self, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage};

/// Leaves a child that is a session of its own: only the daemon can see that it ends.
const LEAVES: &str = "setsid sleep 0.2 & sleep infinity & wait";

#[test]
fn proc_is_gone_and_comes_back() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let mut services = Services::default().sleepers("s", 100, RESTARTS);
    for number in 0..10 {
        let name = format!("leaves{number}");
        services.add(&name, "/bin/sh", &["-c", LEAVES, &name], RESTARTS);
    }
    let patient = Patient::new(Stage::new(), services);
    patient.change_mounts("umount -l /proc");
    choices.for_a_while(crate::SHORT, |choices| {
        let children = children_of(&patient.daemon);
        for _ in 0..choices.below(20) {
            let child = choices.one_of(&children);
            let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
        }
        let name = format!("s{}", choices.below(100));
        patient.tell("restart", &[&name]);
        assert_eq!(patient.daemon.list().len(), 110);
    });
    // With some seeds it comes back before the end, with the others the daemon has to end without.
    if choices.below(2) == 0 {
        patient.change_mounts("mount -t proc proc /proc");
    }
    aftermath::check(patient, &mut choices);
}
