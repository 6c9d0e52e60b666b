//! A service's user at work against root's files.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use go_overlay::config::model::{IdOrName, User, UserSpec};

use crate::support::{Launch, Stage};

/// The user of the services.
pub(crate) const USER: u32 = 20_001;

/// Another user, with no service.
pub(crate) const STRANGER: u32 = 20_002;

/// In a race each side gets at least this many tries.
pub(crate) const TRIES: usize = 10_000;

/// Against a real daemon each try is a process, a check or a file of its own. `make test` plays so many of them.
const SOME: usize = 500;

/// How long a race may take until each side has had its tries.
pub(crate) const RACE: Duration = Duration::from_secs(600);

/// The tries that each side of a race against a real daemon gets.
pub(crate) fn tries() -> usize {
    tries_or(SOME)
}

/// All of them for `make races`, which sets `GO_OVERLAY_RACES=all`, or so many.
pub(crate) fn tries_or(some: usize) -> usize {
    if plays_all() { TRIES } else { some }
}

/// Whether all tries are played.
pub(crate) fn plays_all() -> bool {
    std::env::var("GO_OVERLAY_RACES").as_deref() == Ok("all")
}

/// Says what a race came to, for `make races`.
pub(crate) fn report(race: &str, pid_one: bool, figures: &str) {
    let place = if pid_one { "as PID 1" } else { "beside others" };
    println!("race: {race}, {place}: {figures}");
}

/// Runs a program as the service's user until it is dropped.
pub(crate) struct Attacker {
    child: Child,
    /// Where it writes how often it has swapped.
    count: File,
}

impl Attacker {
    /// Exchanges two names again and again (renameat2(2)), and takes the execute bits off what is no link.
    pub(crate) fn swaps(one: &Path, other: &Path) -> Attacker {
        let number = libc::SYS_renameat2;
        let script = format!(
            "my ($one, $other) = @ARGV; my $count = 0;
             while (1) {{
                 syscall({number}, -100, $one, -100, $other, 2) == 0 and $count++;
                 for ($one, $other) {{ chmod 06666, $_ if -f $_ && !-l $_ }}
                 if ($count % 32 == 0) {{ sysseek(STDOUT, 0, 0); syswrite(STDOUT, sprintf('%012d', $count)) }}
             }}"
        );
        let count = tempfile::tempfile().unwrap();
        let mut command = Command::new("/usr/bin/perl");
        command.args(["-e", &script]).arg(one).arg(other);
        command.stdout(count.try_clone().unwrap());
        let child = command.uid(USER).gid(USER).spawn().unwrap();
        Attacker { child, count }
    }

    /// How often it has swapped them so far, in steps of 32.
    pub(crate) fn count(&self) -> usize {
        let mut text = [0; 12];
        let read = self.count.read_at(&mut text, 0).unwrap();
        std::str::from_utf8(&text[..read])
            .unwrap()
            .parse()
            .unwrap_or(0)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its user, as a configuration names it.
pub(crate) fn spec(uid: u32) -> Box<UserSpec> {
    Box::new(UserSpec {
        user: IdOrName::Id(uid),
        group: None,
    })
}

pub(crate) fn user() -> User {
    User {
        name: None,
        uid: USER,
        gid: USER,
        groups: vec![USER],
        home: "/".into(),
        shell: "/bin/sh".into(),
    }
}

/// A folder inside the stage that the service's user owns.
pub(crate) fn users_folder(stage: &Stage, name: &str) -> PathBuf {
    let folder = stage.path(name);
    fs::create_dir_all(&folder).unwrap();
    chown(&folder, Some(USER), Some(USER)).unwrap();
    folder
}

pub(crate) fn give(path: &Path, uid: u32) {
    lchown(path, Some(uid), Some(uid)).unwrap();
}

/// A file with this mode and owner.
pub(crate) fn file(path: &Path, text: &str, mode: u32, uid: u32) {
    fs::write(path, text).unwrap();
    give(path, uid);
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A link that the service's user has made.
pub(crate) fn users_link(target: &Path, link: &Path) {
    symlink(target, link).unwrap();
    give(link, USER);
}

pub(crate) fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Everything about a folder that an attacker could have changed: owner, mode and content of each file.
pub(crate) fn state_of(folder: &Path) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        let content = fs::read(entry.path()).unwrap_or_default();
        (entry.path(), (metadata.uid(), metadata.mode(), content))
    });
    files.collect()
}

pub(crate) fn as_pid_one<'a>(launch: Launch<'a>, pid_one: bool) -> Launch<'a> {
    if pid_one { launch.pid_one() } else { launch }
}
