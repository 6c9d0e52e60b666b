//! What the kernel says about processes, from /proc.

use std::fs;

/// The fields of /proc/PID/stat after the program's name, from field 3 (the state) on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    Some(after_name.split_whitespace().map(str::to_owned).collect())
}

/// Whether it runs: neither gone nor a zombie.
pub fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// Sends a process a signal by number: the library has no names for real-time signals, and hides two.
pub fn send(pid: i32, number: i32) {
    let kill = format!("kill -{number} {pid}");
    let status = std::process::Command::new("sh")
        .args(["-c", &kill])
        .status();
    assert!(status.unwrap().success(), "{kill}");
}

/// The state of a process: `S` asleep, `T` stopped; empty for one that is gone.
pub fn state_of(pid: i32) -> String {
    stat(pid).map_or_else(String::new, |fields| fields[0].clone())
}

/// A number of /proc/PID/status, such as `VmRSS` (in kB) or `voluntary_ctxt_switches`.
pub fn status_field(pid: i32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Every process with its parent: (pid, parent, state, start).
fn table() -> Vec<(i32, i32, String, String)> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let fields = stat(pid)?;
            let parent = fields[1].parse().ok()?;
            Some((pid, parent, fields[0].clone(), fields[19].clone()))
        })
        .collect()
}

/// The children of a process, zombies included.
pub fn children(parent: i32) -> Vec<i32> {
    let all = table();
    all.iter()
        .filter(|row| row.1 == parent)
        .map(|row| row.0)
        .collect()
}

/// Everything below a process, zombies not included.
pub fn descendants(root: i32) -> Vec<i32> {
    below(root, |state| state != "Z")
        .into_iter()
        .map(|(pid, _)| pid)
        .collect()
}

/// The zombies below a process.
pub fn zombies(root: i32) -> Vec<i32> {
    below(root, |state| state == "Z")
        .into_iter()
        .map(|(pid, _)| pid)
        .collect()
}

fn below(root: i32, keep: impl Fn(&str) -> bool) -> Vec<(i32, String)> {
    let all = table();
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (pid, _, state, start) in all.iter().filter(|row| row.1 == parent) {
            parents.push(*pid);
            if keep(state) {
                found.push((*pid, start.clone()));
            }
        }
    }
    found
}

/// Processes remembered with their start times, so that a number used anew is not taken for them.
pub struct Snapshot(Vec<(i32, String)>);

impl Snapshot {
    /// Everything that runs below `root` now.
    pub fn below(root: i32) -> Snapshot {
        Snapshot(below(root, |state| state != "Z"))
    }

    /// How many were remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that still run.
    pub fn alive(&self) -> Vec<i32> {
        self.0
            .iter()
            .filter(|(pid, start)| {
                stat(*pid).is_some_and(|fields| fields[0] != "Z" && fields[19] == *start)
            })
            .map(|(pid, _)| *pid)
            .collect()
    }
}
