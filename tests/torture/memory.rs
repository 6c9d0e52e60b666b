//! Memory is short: services take more than the control group has, and the kernel kills them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::aftermath::{self, children_of};
use crate::control_group::ControlGroup;
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, PATIENCE, Stage, say_skipped, until};

/// What all of them may have.
const LIMIT: &str = "100663296";

/// Takes a MiB at a time until the file is there.
const HOG: &str = "my ($calm, $name) = @ARGV; my @held;
until (-e $calm) { push @held, 'x' x 1048576; select undef, undef, undef, 0.001; }
@held = ();
sleep 1000000 while 1;
";

#[test]
fn memory_runs_out_and_comes_back() {
    need_pid_one!();
    let Some(group) = ControlGroup::new("memory") else {
        return say_skipped("no control group with a memory controller can be made here");
    };
    group.set_first(&["memory.limit_in_bytes", "memory.max"], LIMIT);
    let mut choices = Choices::from_environment();
    let stage = Stage::new();
    let (hog, calm) = (stage.file("hog.pl", HOG), stage.file("calm", ""));
    let mut services = Services::default().sleepers("s", 40, RESTARTS);
    for number in 0..4 {
        let name = format!("hog{number}");
        services.add(&name, "/usr/bin/perl", &[&hog, &calm, &name], RESTARTS);
    }
    let patient = Patient::after_shell(stage, services, &group.enter());
    let kills = || group.count(&["memory.oom_control", "memory.events"], "oom_kill");
    std::fs::remove_file(patient.stage.path("calm")).unwrap();
    patient.tell("restart", &["hog0", "hog1", "hog2", "hog3"]);
    choices.for_a_while(2 * crate::SHORT, |choices| {
        let children = children_of(&patient.daemon);
        if choices.below(4) == 0 {
            let child = choices.one_of(&children);
            let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
        }
    });
    // However fast the machine is: it did run out.
    until("the kernel to kill for memory", PATIENCE, || {
        (kills() > 0).then_some(())
    });
    eprintln!("{} killed for memory", kills());
    patient.stage.file("calm", "");
    aftermath::check(patient, &mut choices);
}
