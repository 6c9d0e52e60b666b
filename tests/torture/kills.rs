//! Services are killed, stopped and continued at random.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::aftermath::{self, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage};

const COUNT: usize = 300;

#[test]
fn three_hundred_services_under_kill_9_and_sigstop() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let patient = Patient::new(
        Stage::new(),
        Services::default().sleepers("s", COUNT, RESTARTS),
    );
    let mut killed = 0;
    choices.for_a_while(crate::SHORT, |choices| {
        // One look at /proc for many signals: some hit who is gone already, or a number's next owner, as in life.
        let children = children_of(&patient.daemon);
        for _ in 0..1 + choices.below(200) {
            if children.is_empty() {
                return;
            }
            let child = choices.one_of(&children);
            let signal = *choices.one_of(&[
                Signal::SIGKILL,
                Signal::SIGKILL,
                Signal::SIGSTOP,
                Signal::SIGCONT,
                Signal::SIGSEGV,
                Signal::SIGTERM,
            ]);
            killed += u32::from(kill(Pid::from_raw(child.outer), signal).is_ok());
        }
        if choices.below(4) == 0 {
            let name = format!("s{}", choices.below(COUNT as u64));
            let command = *choices.one_of(&["restart", "start"]);
            patient.tell(command, &[&name]);
        }
    });
    eprintln!("{killed} signals");
    // Some stay stopped: they are listed as what they are, processes, and do not keep a shutdown waiting.
    for child in children_of(&patient.daemon).iter().take(20) {
        let _ = kill(Pid::from_raw(child.outer), Signal::SIGSTOP);
    }
    aftermath::check(patient, &mut choices);
}
