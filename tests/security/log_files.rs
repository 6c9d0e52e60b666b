//! Log files in places that a user of a service can write, and the descriptors that they take.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use go_overlay::base::Moment;
use go_overlay::sys::log_file::{LogFile, Rotation};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::attack::{
    Attacker, RACE, STRANGER, TRIES, USER, as_pid_one, file, report, state_of, tries, users_folder,
    users_link,
};
use crate::support::{Launch, PATIENCE, Stage, quoted, service, shell, sleeper, until};

/// The names and the contents that a root's log folder has.
fn roots_logs(stage: &Stage) -> PathBuf {
    let folder = stage.path("roots");
    fs::create_dir(&folder).unwrap();
    for name in 0..50 {
        file(
            &folder.join(format!("{name}.log")),
            "of root\n",
            0o640,
            STRANGER,
        );
        for number in 1..4 {
            file(
                &folder.join(format!("{name}.log.{number}")),
                "older\n",
                0o640,
                0,
            );
        }
    }
    folder
}

/// A log folder of the user's, who swaps it for a link to root's.
struct LogsUnderAttack {
    logs: PathBuf,
    evil: PathBuf,
    roots: PathBuf,
    before: BTreeMap<PathBuf, (u32, u32, Vec<u8>)>,
}

impl LogsUnderAttack {
    fn on(stage: &Stage) -> LogsUnderAttack {
        let app = users_folder(stage, "app");
        let (logs, evil) = (app.join("logs"), app.join("evil"));
        users_folder(stage, "app/logs");
        let roots = roots_logs(stage);
        let before = state_of(&roots);
        users_link(&roots, &evil);
        LogsUnderAttack {
            logs,
            evil,
            roots,
            before,
        }
    }

    fn begin(&self) -> Attacker {
        Attacker::swaps(&self.logs, &self.evil)
    }

    fn nothing_of_roots_has_changed(&self) {
        assert_eq!(state_of(&self.roots), self.before);
    }

    /// Whatever the attacker left, the folder is in its place.
    fn end(&self, attacker: Attacker) {
        drop(attacker);
        if self.logs.is_symlink() {
            fs::remove_file(&self.logs).unwrap();
            fs::rename(&self.evil, &self.logs).unwrap();
        }
    }

    /// The user's service that logs there.
    fn log(&self, name: usize, more: &str) -> String {
        let path = quoted(&self.logs.join(format!("{name}.log")).display().to_string());
        let log = format!("max_size = \"4KiB\", keep = 2, stdout = false, {more}");
        format!("user = \"{USER}\"\ntty = false\nlog_file = {path}\nlog = {{ {log} }}")
    }
}

/// Fifty services log into the folder, while the daemon opens all files again and again. One of them fills its file
/// without end, so that it is rotated all the time.
fn race_for_log_files(pid_one: bool) {
    let stage = Stage::new();
    let attack = LogsUnderAttack::on(&stage);
    let log = |name| attack.log(name, "compress = false");
    let mut config = service("app0", "/usr/bin/yes", &[&"x".repeat(2000)], &log(0));
    let quiet = "echo up; exec sleep infinity";
    config.extend((1..50).map(|name| shell(&format!("app{name}"), quiet, &log(name))));
    let attacker = attack.begin();
    let daemon = as_pid_one(Launch::on(&stage).config(config), pid_one).start();
    let before = attacker.count();
    let (mut openings, began) = (0, Instant::now());
    while openings < TRIES || attacker.count() - before < TRIES {
        assert!(began.elapsed() < RACE, "{openings} openings");
        daemon.signal(Signal::SIGUSR2);
        // An answer after the signal: it was not merged with the next one.
        daemon.list();
        openings += 50;
    }
    let swaps = attacker.count() - before;
    let figures = format!("{openings} openings, {swaps} swaps");
    report("log folder", pid_one, &figures);
    attack.nothing_of_roots_has_changed();
    // Once it is left in peace it logs again.
    attack.end(attacker);
    let own = attack.logs.join("0.log.1");
    let _ = fs::remove_file(&own);
    daemon.signal(Signal::SIGUSR2);
    until("a rotation in the user's own folder", PATIENCE, || {
        own.exists().then_some(())
    });
    attack.nothing_of_roots_has_changed();
}

#[test]
fn a_log_folder_swapped_for_a_link_leads_to_no_file_of_roots() {
    need_root!();
    race_for_log_files(false);
}

#[test]
fn a_log_folder_swapped_for_a_link_leads_to_no_file_of_roots_under_pid_1() {
    need_root!();
    race_for_log_files(true);
}

/// Each line fills the file: the daemon tries to rotate it, and to compress the one before.
fn race_for_a_rotation(pid_one: bool) {
    let stage = Stage::new();
    let attack = LogsUnderAttack::on(&stage);
    let go = stage.path("go");
    // The file is open when it begins: one that is not is tried again once a second only.
    let program = format!(
        "$| = 1; select undef, undef, undef, 0.01 until -e '{}';
         print 'x' x 5000, \"\\n\" for 1..{}",
        go.display(),
        tries()
    );
    let log = attack.log(0, "compress = true");
    let config = service("app", "/usr/bin/perl", &["-e", &program], &log);
    let daemon = as_pid_one(Launch::on(&stage).config(config), pid_one).start();
    until("the log file", PATIENCE, || {
        attack.logs.join("0.log").exists().then_some(())
    });
    let attacker = attack.begin();
    until("the attack", PATIENCE, || {
        (attacker.count() > 0).then_some(())
    });
    fs::write(go, "").unwrap();
    // Its output was read to the end before its end is shown.
    until("the last line", RACE, || {
        (daemon.row("app").detail() == "completed").then_some(())
    });
    let swaps = attacker.count();
    let figures = format!("{} rotations tried, {swaps} swaps", tries());
    report("rotation", pid_one, &figures);
    assert!(swaps >= tries(), "{swaps} swaps");
    attack.nothing_of_roots_has_changed();
    attack.end(attacker);
    // They were tried, and some succeeded: the last files hold but a part of all that was written. While one does not
    // succeed, the lines go on into the file that is there.
    let names = ["0.log", "0.log.1", "0.log.2", "0.log.1.gz", "0.log.2.gz"];
    let sizes = names.map(|name| fs::metadata(attack.logs.join(name)).map_or(0, |file| file.len()));
    let (kept, written) = (sizes.iter().sum::<u64>(), 5000 * tries() as u64);
    assert!(kept > 0 && kept < written, "{sizes:?}");
}

#[test]
fn a_log_folder_swapped_while_a_daemon_rotates_leads_to_no_file_of_roots() {
    need_root!();
    race_for_a_rotation(false);
}

#[test]
fn a_log_folder_swapped_while_a_daemon_rotates_leads_to_no_file_of_roots_under_pid_1() {
    need_root!();
    race_for_a_rotation(true);
}

/// Each line fills the file, and each rotation compresses: one try of each kind a line.
#[test]
fn a_log_folder_swapped_in_the_middle_of_a_rotation_leads_nowhere() {
    need_root!();
    let stage = Stage::new();
    let attack = LogsUnderAttack::on(&stage);
    let _attacker = attack.begin();
    let rotation = Rotation {
        max_size: 5,
        keep: 3,
        compress: true,
    };
    let owner = Some((USER, USER));
    let (mut log, _) = LogFile::open(&attack.logs.join("0.log"), owner, Some(rotation));
    let mut rotated = 0;
    for round in 0..TRIES {
        // The clock goes on, so that a file that could not be opened is tried again.
        log.write(b"line\n", Moment(round as u64 * 2_000_000_000));
        rotated += usize::from(log.has_work());
        log.work();
        if round % 7 == 0 {
            let _ = log.reopen();
        }
    }
    assert!(rotated > 0, "no rotation met the folder in its place");
    attack.nothing_of_roots_has_changed();
}

#[test]
fn a_log_file_is_not_opened_through_what_the_user_can_write() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let roots = stage.path("roots");
    fs::create_dir_all(roots.join("deep")).unwrap();
    let victim = roots.join("web.log");
    file(&victim, "of root\n", 0o640, 0);
    let before = state_of(&roots);
    let owner = Some((USER, USER));
    let open = |path: &Path| LogFile::open(path, owner, None).1;
    // A folder that leads out, also by way of a folder of the user's own; one of root's that the user put elsewhere.
    users_link(&roots, &app.join("logs"));
    users_link(Path::new("../roots"), &app.join("relative"));
    users_folder(&stage, "app/real");
    users_link(&roots, &app.join("real/inner"));
    symlink(&roots, app.join("of_root")).unwrap();
    for path in [
        "app/logs/web.log",
        "app/logs/new.log",
        "app/logs/deep/new.log",
        "app/relative/web.log",
        "app/real/inner/new.log",
        "app/of_root/new.log",
    ] {
        let refused = open(&stage.path(path)).expect(path);
        assert!(refused.contains("is a symlink"), "{path}: {refused}");
    }
    // The same below a folder that a group or everybody can write.
    for (name, mode) in [("group", 0o775), ("all", 0o777)] {
        let folder = stage.path(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        symlink(&roots, folder.join("logs")).unwrap();
        assert!(open(&folder.join("logs/new.log")).is_some(), "{name}");
        assert_eq!(open(&folder.join("new.log")), None, "{name}");
    }
    // A device is no log file there, and neither is a second name of a file.
    let device = Mode::from_bits_truncate(0o666);
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    let full = nix::sys::stat::makedev(1, 7);
    nix::sys::stat::mknod(&app.join("device"), kind, device, full).unwrap();
    assert!(open(&app.join("device")).unwrap().contains("neither"));
    fs::hard_link(&victim, app.join("hard.log")).unwrap();
    assert!(
        open(&app.join("hard.log"))
            .unwrap()
            .contains("second hard link")
    );
    fs::remove_file(app.join("hard.log")).unwrap();
    assert_eq!(state_of(&roots), before);
    // Root's own links lead where root wants them to.
    symlink(&roots, stage.path("current")).unwrap();
    assert_eq!(open(&stage.path("current/web.log")), None);
}

#[test]
fn a_rotated_file_is_as_it_was_but_never_setuid_or_executable() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let rotation = |compress| Rotation {
        max_size: 5,
        keep: 2,
        compress,
    };
    // The user's own file, and one of another user, in the user's folder.
    for (name, uid, becomes) in [
        ("own.log", USER, USER),
        ("root.log", 0, 0),
        ("other.log", STRANGER, USER),
    ] {
        for compress in [false, true] {
            let path = app.join(name);
            file(&path, "old\n", 0o6777, uid);
            let owner = Some((USER, USER));
            let (mut log, complaint) = LogFile::open(&path, owner, Some(rotation(compress)));
            assert_eq!(complaint, None);
            assert_eq!(log.write(b"line\n", Moment(0)), None);
            while log.has_work() {
                assert_eq!(log.work(), None);
            }
            let new = fs::metadata(&path).unwrap();
            assert_eq!((new.mode() & 0o7777, new.uid()), (0o666, becomes), "{name}");
            if compress {
                // It holds what the old one held: nobody else may read it.
                let old = fs::metadata(app.join(format!("{name}.1.gz"))).unwrap();
                assert_eq!((old.mode() & 0o7777, old.uid()), (0o666, uid), "{name}");
            }
        }
    }
}

#[test]
fn another_file_of_the_same_name_is_not_rotated() {
    need_root!();
    let stage = Stage::new();
    let app = users_folder(&stage, "app");
    let path = app.join("web.log");
    let rotation = Rotation {
        max_size: 5,
        keep: 2,
        compress: false,
    };
    let (mut log, _) = LogFile::open(&path, Some((USER, USER)), Some(rotation));
    fs::remove_file(&path).unwrap();
    file(&path, "precious\n", 0o600, 0);
    let complaint = log.write(b"line\n", Moment(0)).unwrap();
    assert!(complaint.contains("was replaced"), "{complaint}");
    assert_eq!(fs::read(&path).unwrap(), b"precious\n");
}

#[test]
fn log_files_leave_descriptors_to_clients() {
    let stage = Stage::new();
    let log = |name: usize| format!("log_file = {}", quoted(&stage.at(&format!("{name}.log"))));
    let config: String = (0..60)
        .map(|name| sleeper(&format!("app{name}"), &log(name)))
        .collect();
    let launch = Launch::on(&stage)
        .config(config)
        .shell_first("ulimit -n 64");
    let daemon = launch.start();
    assert_eq!(daemon.list().len(), 60);
    let line = daemon.err.wait_for("cannot open log file", PATIENCE);
    assert!(line.contains("too many open files; raise"), "{line}");
    // Files that are open are opened anew without a further descriptor.
    let first = stage.path("0.log");
    fs::rename(&first, stage.path("0.log.1")).unwrap();
    daemon.signal(Signal::SIGUSR2);
    until("the first file made anew", PATIENCE, || {
        first.exists().then_some(())
    });
    assert_eq!(daemon.list().len(), 60);
}
