//! Services fork without end, and leave their children to the daemon.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::aftermath::{self, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage};

/// Forks children that fork children whose parent is gone at once; some are sessions of their own, some hold
/// the terminal for a moment, some write. It stops when the file is there.
const BOMB: &str = "use strict; use POSIX; my ($calm, $name) = @ARGV;
my $n = 0;
until (-e $calm) {
    $n++;
    my @children;
    for (1 .. 8) {
        my $child = fork; next if !defined $child;
        if (!$child) {
            for (1 .. 3) {
                my $orphan = fork; next if !defined $orphan;
                if (!$orphan) {
                    POSIX::setsid() if $n % 2;
                    print \"orphan\\n\" if $n % 5 == 0;
                    select undef, undef, undef, 0.001 * ($n % 10);
                    POSIX::_exit($n % 256);
                }
            }
            POSIX::_exit(0);
        }
        push @children, $child;
    }
    waitpid $_, 0 for @children;
}
sleep 1000000 while 1;
";

#[test]
fn fork_bombs_of_short_lived_children() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let stage = Stage::new();
    let (bomb, calm) = (stage.file("bomb.pl", BOMB), stage.at("calm"));
    let mut services = Services::default().sleepers("s", 100, RESTARTS);
    for number in 0..6 {
        let name = format!("bomb{number}");
        let more = format!("{RESTARTS}log_buffer = \"4KiB\"\n");
        services.add(&name, "/usr/bin/perl", &[&bomb, &calm, &name], &more);
    }
    stage.file("calm", "");
    let patient = Patient::new(stage, services);
    std::fs::remove_file(patient.stage.path("calm")).unwrap();
    let bombs: Vec<String> = (0..6).map(|number| format!("bomb{number}")).collect();
    let bombs: Vec<&str> = bombs.iter().map(String::as_str).collect();
    patient
        .daemon
        .ask(json!({"command": "restart", "services": bombs}));
    choices.for_a_while(crate::SHORT, |choices| {
        let children = children_of(&patient.daemon);
        for _ in 0..choices.below(10) {
            let child = choices.one_of(&children);
            let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
        }
    });
    patient.daemon.signal(Signal::SIGUSR1);
    let counts = patient
        .daemon
        .err
        .wait_for("orphans reaped", crate::support::PATIENCE);
    eprintln!("{counts}");
    assert!(!counts.contains(" 0 orphans"), "{counts}");
    patient.stage.file("calm", "");
    aftermath::check(patient, &mut choices);
}
