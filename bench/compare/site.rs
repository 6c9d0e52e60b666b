//! Where one contender runs: a folder of its own, and the FIFO on which its services announce themselves.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::fifo;

/// Longer than anything measured; a contender that takes longer is said to have failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Site {
    pub folder: PathBuf,
    /// How many services there are to be.
    pub count: usize,
    /// The program of each.
    pub service: PathBuf,
    fifo: File,
    _temporary: tempfile::TempDir,
}

impl Site {
    pub fn new(service: &Path, count: usize) -> Site {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let path = folder.join("fifo");
        let fifo = fifo::make(&path);
        Site {
            folder,
            count,
            service: service.to_owned(),
            fifo,
            _temporary: temporary,
        }
    }

    pub fn fifo_path(&self) -> PathBuf {
        self.folder.join("fifo")
    }

    pub fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The process ids that the next `count` services announce; None when they do not come in time.
    pub fn announced(&mut self, count: usize) -> Option<Vec<i32>> {
        let deadline = Instant::now() + PATIENCE;
        let mut pids = Vec::with_capacity(count);
        let mut bytes = [0; 8];
        while pids.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut ends = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ends, PollTimeout::try_from(left).unwrap()).unwrap() == 0 {
                return None;
            }
            self.fifo.read_exact(&mut bytes).unwrap();
            pids.push(i32::try_from(i64::from_ne_bytes(bytes)).unwrap());
        }
        Some(pids)
    }
}

impl Drop for Site {
    /// Whoever was killed a moment ago may still write here.
    fn drop(&mut self) {
        let began = Instant::now();
        while fs::remove_dir_all(&self.folder).is_err()
            && self.folder.exists()
            && began.elapsed() < Duration::from_secs(1)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
