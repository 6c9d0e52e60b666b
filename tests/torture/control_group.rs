//! A control group that the daemon is put into, so that there is little of something.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A control group (cgroups(7)) of its own, of either hierarchy; it goes with this.
pub struct ControlGroup(PathBuf);

impl ControlGroup {
    /// One with this controller; None where none can be made.
    pub fn new(controller: &str) -> Option<ControlGroup> {
        let name = format!("go-overlay-torture-{}", std::process::id());
        let older = Path::new("/sys/fs/cgroup").join(controller);
        let (parent, unified) = match older.is_dir() {
            true => (older, false),
            false => (PathBuf::from("/sys/fs/cgroup"), true),
        };
        if unified {
            let file = parent.join("cgroup.subtree_control");
            fs::write(file, format!("+{controller}")).ok()?;
        }
        let folder = parent.join(name);
        fs::create_dir(&folder).ok()?;
        Some(ControlGroup(folder))
    }

    /// Writes one of its files.
    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).unwrap();
    }

    /// Writes the first of these files that is there: the hierarchies name them differently.
    pub fn set_first(&self, files: &[&str], value: &str) {
        self.set(self.first(files), value);
    }

    fn first<'a>(&self, files: &[&'a str]) -> &'a str {
        let there = files.iter().find(|file| self.0.join(file).exists());
        there.unwrap_or_else(|| panic!("none of {files:?} in {}", self.0.display()))
    }

    /// A number in the first of these files that is there.
    pub fn count(&self, files: &[&str], name: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(self.first(files))).unwrap();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap().trim().parse().unwrap()
    }

    /// What makes a shell a member.
    pub fn enter(&self) -> String {
        format!("echo 0 > {}/cgroup.procs || exit 99", self.0.display())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Its last members may be dying still.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
