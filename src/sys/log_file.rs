//! A second destination of a service's output. Opened for appending, never truncated; trouble with it
//! costs lines of the file, never the service, and is told once until it works again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    owner: Option<(u32, u32)>,
    complained: bool,
}

impl LogFile {
    /// Opens it for appending, and makes it where it is missing, for the service's user to read.
    ///
    /// # Errors
    /// In words: the path, and why.
    pub fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<LogFile> {
        let file = open(path, owner).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot open log file {}: {error}", path.display()),
            )
        })?;
        Ok(LogFile {
            path: path.to_owned(),
            file,
            owner,
            complained: false,
        })
    }

    /// Opens the path anew, after somebody renamed the file.
    ///
    /// # Errors
    /// As [`LogFile::open`]; the old file stays in use then.
    pub fn reopen(&mut self) -> io::Result<()> {
        *self = LogFile::open(&self.path, self.owner)?;
        Ok(())
    }

    /// Writes the bytes. Gives back a complaint when it begins to fail.
    pub fn write(&mut self, bytes: &[u8]) -> Option<String> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.complained = false;
                None
            }
            Err(_) if self.complained => None,
            Err(error) => {
                self.complained = true;
                Some(format!(
                    "cannot write log file {}: {error}; lines are missing in it until it works again",
                    self.path.display()
                ))
            }
        }
    }
}

/// O_NONBLOCK: a pipe without a reader must not hold the daemon up.
fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    let is_new = !path.exists();
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags)
        .open(path)?;
    if is_the_daemons_own(&file) {
        return Err(io::Error::other(
            "it is the daemon's own standard output, where the lines go anyhow; remove log_file",
        ));
    }
    if let (true, Some((uid, gid))) = (is_new, owner) {
        // Only root may give files away; the lines are written either way.
        let _ = std::os::unix::fs::fchown(&file, Some(uid), Some(gid));
    }
    Ok(file)
}

/// Written twice, each line would appear twice.
fn is_the_daemons_own(file: &File) -> bool {
    let same = |other: &str| {
        let (Ok(a), Ok(b)) = (file.metadata(), std::fs::metadata(other)) else {
            return false;
        };
        a.dev() == b.dev() && a.ino() == b.ino() && !a.is_dir()
    };
    let is_null = std::fs::metadata("/dev/null").is_ok_and(|null| {
        file.metadata()
            .is_ok_and(|own| own.dev() == null.dev() && own.ino() == null.ino())
    });
    !is_null && (same("/proc/self/fd/1") || same("/proc/self/fd/2"))
}
