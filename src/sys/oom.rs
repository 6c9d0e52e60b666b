//! Processes that the kernel killed because memory was short. It leaves no trace in their exit status, which
//! is that of any SIGKILL; but it counts them for the control group (cgroups(7)) that a container is.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Where the count stands: of the unified hierarchy, and of the older one.
const FILES: [&str; 2] = [
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
];

/// Longer than either file.
const FILE_BYTES: usize = 512;

/// The kills that were accounted for.
#[derive(Debug, Default)]
pub struct OomKills {
    seen: u64,
    /// Stays open: whoever was killed waits for its restart while it is read.
    file: Option<File>,
}

impl OomKills {
    /// From now on; what was killed before was none of ours.
    pub fn new() -> OomKills {
        let mut kills = OomKills::default();
        kills.seen = kills.count().unwrap_or(0);
        kills
    }

    /// Whether one more process was killed for memory; each is told once. False where the kernel does not say:
    /// outside of a control group, and where /sys is not mounted.
    pub fn take_one(&mut self) -> bool {
        let is_new = self.count().is_some_and(|count| count > self.seen);
        self.seen += u64::from(is_new);
        is_new
    }

    fn count(&mut self) -> Option<u64> {
        // It may have been mounted meanwhile, and what was open may belong to a mount that is gone.
        let open = || FILES.iter().find_map(|file| File::open(file).ok());
        let file = self.file.take().or_else(open)?;
        let mut text = [0; FILE_BYTES];
        let length = file.read_at(&mut text, 0).ok()?;
        self.file = Some(file);
        parse(str::from_utf8(&text[..length]).ok()?)
    }
}

fn parse(text: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn both_hierarchies_count_alike() {
        let unified = "low 0\nhigh 0\nmax 17\noom 2\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(parse(unified), Some(3));
        assert_eq!(
            parse("oom_kill_disable 0\nunder_oom 0\noom_kill 12\n"),
            Some(12)
        );
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
