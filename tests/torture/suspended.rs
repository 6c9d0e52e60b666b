//! The daemon itself is suspended and resumed, as a container that is paused or a machine that sleeps is.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::aftermath::{self, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage, ask};

/// Says that it lives, far more often than it has to.
const PETS: &str = "use strict; use Socket; my ($name) = @ARGV;
my $path = $ENV{NOTIFY_SOCKET}; $path =~ s/^@/\\0/;
socket my $s, AF_UNIX, SOCK_DGRAM, 0 or die;
connect $s, pack_sockaddr_un($path) or die;
send $s, \"READY=1\\n\", 0;
while (1) { send $s, \"WATCHDOG=1\\n\", MSG_DONTWAIT; select undef, undef, undef, 0.05; }
";

#[test]
fn suspended_and_resumed() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let stage = Stage::new();
    let pets = stage.file("pets.pl", PETS);
    let mut services = Services::default().sleepers("s", 100, RESTARTS).sleepers(
        "checked",
        10,
        &format!("{RESTARTS}[services.health]\nexec = [\"/bin/true\"]\ninterval = \"200ms\"\ntimeout = \"2s\"\non_unhealthy = \"restart\"\n"),
    );
    for number in 0..5 {
        let name = format!("watched{number}");
        let more = "ready = \"notify\"\nwatchdog = \"500ms\"\n";
        services.add(&name, "/usr/bin/perl", &[&pets, &name], more);
    }
    let patient = Patient::new(stage, services);
    let mut suspended = Duration::ZERO;
    choices.for_a_while(2 * crate::SHORT, |choices| {
        let children = children_of(&patient.daemon);
        patient.daemon.signal(Signal::SIGSTOP);
        for _ in 0..choices.below(20) {
            let child = choices.one_of(&children);
            if child.command.iter().any(|word| word == "infinity") {
                let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
            }
        }
        // Not a wait for anything: the length of the suspension, at times longer than the watchdogs allow.
        let time = Duration::from_millis(choices.below(10) * choices.below(100));
        std::thread::sleep(time);
        suspended += time;
        patient.daemon.signal(Signal::SIGCONT);
        let request = json!({"command": "list"});
        ask(&patient.daemon.socket, &request).unwrap();
    });
    eprintln!("suspended for {suspended:?}");
    // Those that said all the time that they live were left alone.
    for number in 0..5 {
        let row = patient.daemon.row(&format!("watched{number}"));
        assert_eq!(row.0["restarts"], 0, "{row:?}\n{}", patient.daemon.said());
        assert_eq!(row.state(), "RUNNING", "{row:?}\n{}", patient.daemon.said());
    }
    aftermath::check(patient, &mut choices);
}
