//! The disk is full: under the log files, under standard output, and under the folder of the scripts.

use std::fs;

use crate::aftermath;
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, Stage};

const WRITERS: usize = 20;

/// Writes until the file is there.
const WRITER: &str = "my ($calm, $name) = @ARGV; $| = 1;
until (-e $calm) { print 'x' x 200, \"\\n\" for 1 .. 20; select undef, undef, undef, 0.005; }
sleep 1000000 while 1;
";

#[test]
fn the_disk_fills_and_is_freed() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let stage = Stage::new();
    let (writer, calm) = (stage.file("writer.pl", WRITER), stage.file("calm", ""));
    let disk = stage.open_folder("disk");
    let mut services = Services::default().sleepers("s", 60, RESTARTS);
    for number in 0..WRITERS {
        let name = format!("w{number}");
        let rotation = format!(
            "log_buffer = \"4KiB\"\nlog_file = \"{disk}/{name}.log\"\n[services.log]\nmax_size = \"64KiB\"\nkeep = 2\ncompress = {}\n",
            number % 2 == 0
        );
        let more = format!("{RESTARTS}{rotation}");
        services.add(&name, "/usr/bin/perl", &[&writer, &calm, &name], &more);
    }
    // Everything that is shown goes to the same disk.
    let prepared =
        format!("mount -t tmpfs -o size=1M none {disk} || exit 99\nexec > {disk}/stdout");
    let patient = Patient::after_shell(stage, services, &prepared);
    fs::remove_file(patient.stage.path("calm")).unwrap();
    let names: Vec<String> = (0..WRITERS).map(|number| format!("w{number}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    patient.tell("restart", &all);
    let mut full = 0;
    choices.until_enough("a full disk", crate::SHORT, |choices| {
        let inside = format!("/proc/{}/root{disk}", patient.daemon.pid());
        let left = nix::sys::statvfs::statvfs(inside.as_str()).unwrap();
        full += u32::from(left.blocks_available() == 0);
        match choices.below(10) {
            0 => {
                // Somebody makes room, with the disk's files in use.
                for entry in fs::read_dir(&inside).unwrap().flatten() {
                    if choices.below(2) == 0 {
                        let _ = fs::remove_file(entry.path());
                    }
                }
            }
            1 => patient.daemon.signal(nix::sys::signal::Signal::SIGUSR2),
            2 => {
                let _ = fs::write(format!("{inside}/filler"), vec![b'f'; 1 << 20]);
            }
            _ => {
                let name = *choices.one_of(&all);
                patient.tell("restart", &[name]);
            }
        }
        full > 0
    });
    eprintln!("full at {full} looks");
    patient.stage.file("calm", "");
    patient.change_mounts(&format!("rm -f {disk}/*"));
    // Files that could not be opened are opened again.
    patient.daemon.signal(nix::sys::signal::Signal::SIGUSR2);
    aftermath::check(patient, &mut choices);
}
