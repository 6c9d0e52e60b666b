//! /dev/ptmx is gone, or is something else, and comes back.

use std::collections::BTreeMap;

use crate::aftermath;
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage};

const COUNT: usize = 100;

#[test]
fn terminals_are_gone_and_come_back() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let patient = Patient::new(
        Stage::new(),
        Services::default().sleepers("s", COUNT, RESTARTS),
    );
    let mut hidden = false;
    let mut kinds = BTreeMap::new();
    let says = &patient.daemon.err;
    choices.until_enough("pipes instead of terminals", crate::SHORT, |choices| {
        if hidden {
            patient.change_mounts("umount /dev/ptmx");
            hidden = false;
        } else {
            let what = *choices.one_of(&["/dev/null", "/etc/passwd", "/dev/full"]);
            patient.change_mounts(&format!("mount --bind {what} /dev/ptmx"));
            hidden = true;
            *kinds.entry(what).or_insert(0) += 1;
        }
        let names: Vec<String> = (0..choices.below(30))
            .map(|_| format!("s{}", choices.below(COUNT as u64)))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !names.is_empty() {
            patient.tell("restart", &names);
        }
        says.count("using pipes instead") > 0
    });
    eprintln!("hidden behind {kinds:?}");
    if hidden {
        patient.change_mounts("umount /dev/ptmx");
    }
    // Those that got pipes get their terminals back with the next start.
    patient.daemon.cli_ok(&["restart", "--all"]);
    aftermath::check(patient, &mut choices);
}
