//! What the kernel knows about the daemon: the truth that its table is held against.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::status_field;

/// What a daemon holds when everything is up and nothing has failed.
#[derive(Debug)]
pub struct Level {
    /// Its descriptors, counted by what they are.
    pub descriptors: BTreeMap<String, usize>,
    /// Resident memory of its own (RssAnon), in KiB: the pages of the program file come and go.
    pub memory: u64,
}

impl Level {
    /// Now.
    pub fn of(pid: i32) -> Level {
        Level {
            descriptors: descriptors(pid),
            memory: status_field(pid, "RssAnon").unwrap_or(0),
        }
    }

    /// Without connections that come and go: the least that was seen in a while.
    pub fn at_rest(pid: i32) -> Level {
        let looks = (0..40).map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            Level::of(pid)
        });
        let open = |level: &Level| level.descriptors.values().sum::<usize>();
        looks.min_by_key(open).unwrap_or_else(|| Level::of(pid))
    }
}

/// The descriptors of a process, counted by what they are.
pub fn descriptors(pid: i32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for (_, target) in links(pid) {
        // The numbers of pipes and sockets differ from run to run.
        let kind = target.split(":[").next().unwrap_or_default();
        let kind = match target.starts_with("anon_inode") {
            true => target.as_str(),
            // Nor do the folders of tests.
            false => kind.rsplit('/').next().unwrap_or_default(),
        };
        // Nor does the end of this name.
        let kind = match kind.starts_with("go-overlay-notify-") {
            true => "notify folder",
            false => kind,
        };
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// The pipes of which a process has one end beside its standard descriptors.
pub fn pipes(pid: i32) -> Vec<String> {
    let links = links(pid);
    let standard: Vec<&String> = links
        .iter()
        .filter(|(number, _)| *number <= 2)
        .map(|(_, target)| target)
        .collect();
    links
        .iter()
        .filter(|(number, target)| {
            *number > 2 && target.starts_with("pipe:") && !standard.contains(&target)
        })
        .map(|(_, target)| target.clone())
        .collect()
}

fn links(pid: i32) -> Vec<(i32, String)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?;
            Some((number, target.display().to_string()))
        })
        .collect()
}

/// Everything alive that has this in its environment, but for those who trace.
pub fn marked(marker: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_marked = |pid: &i32| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let environment = read("environ");
        let has = environment
            .windows(marker.len())
            .any(|part| part == marker.as_bytes());
        has && read("comm") != b"strace\n"
    };
    pids.filter(is_marked).collect()
}

/// How long a process has run on a processor, in nanoseconds.
pub fn processor_time(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|number| number.parse().ok()).unwrap_or(0)
}
