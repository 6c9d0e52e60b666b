//! Programs vanish, lose their execute bit, their interpreter or their contents, and come back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::aftermath::{self, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage};

const COUNT: usize = 60;

const GOOD: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nsleep infinity & wait\n";

/// Makes something of a program, always in a new file: one that is executed cannot be written to.
fn replace(path: &Path, text: &[u8], mode: u32) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&new, path).unwrap();
}

fn harm(path: &Path, choices: &mut Choices) {
    match choices.below(7) {
        0 => {
            let _ = fs::remove_file(path);
        }
        1 => replace(path, GOOD.as_bytes(), 0o644),
        2 => replace(path, b"\x01\x02\x03", 0o755),
        3 => replace(path, b"#!/nonexistent/interpreter\n", 0o755),
        4 => replace(path, b"", 0o755),
        5 => replace(path, b"\x7fELF cut off", 0o755),
        _ => replace(path, GOOD.as_bytes(), 0o755),
    }
}

#[test]
fn programs_that_vanish_and_come_back() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let stage = Stage::new();
    let mut services = Services::default().sleepers("steady", 100, "");
    for number in 0..COUNT {
        let path = stage.program(&format!("bin/program{number}"), GOOD);
        services.add(&format!("p{number}"), &path, &[], RESTARTS);
    }
    let patient = Patient::new(stage, services);
    let program = |number| patient.stage.path(&format!("bin/program{number}"));
    let says = &patient.daemon.err;
    choices.until_enough("a missing program", crate::SHORT, |choices| {
        for _ in 0..10 {
            let number = choices.below(COUNT as u64);
            harm(&program(number), choices);
        }
        let children = children_of(&patient.daemon);
        for _ in 0..20 {
            let child = choices.one_of(&children);
            if child.command.iter().any(|word| word.contains("program")) {
                let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
            }
        }
        says.count("cannot execute") > 0
    });
    for number in 0..COUNT as u64 {
        replace(&program(number), GOOD.as_bytes(), 0o755);
    }
    // An empty file is a script without a word in it for some, and ends with 0: everybody starts anew.
    let names: Vec<String> = (0..COUNT).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    patient.tell("start", &names);
    aftermath::check(patient, &mut choices);
}
