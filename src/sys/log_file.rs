//! A second destination of a service's output. Opened for appending, never truncated; trouble with it
//! costs lines of the file, never the service, and is told once until it works again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memchr::memchr;
use nix::unistd::geteuid;

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    owner: Option<(u32, u32)>,
    complained: bool,
    /// The last byte that was written is not the end of a line.
    mid_line: bool,
    /// The beginning of the present line was lost, and so its rest is not written either.
    skipping: bool,
}

impl LogFile {
    /// Opens it for appending, and makes it where it is missing, with mode 0640 and for `owner` (user
    /// and group id). Never waits: a pipe that nobody reads is an error.
    ///
    /// # Errors
    /// In words: the path, and why.
    pub fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<LogFile> {
        let file = open(path, owner).map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::ENXIO) => "nobody reads it".to_owned(),
                _ => error.to_string(),
            };
            let text = format!("cannot open log file {}: {why}", path.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(LogFile {
            path: path.to_owned(),
            file,
            owner,
            complained: false,
            mid_line: false,
            skipping: false,
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

    /// Writes the bytes as they are. Gives back a complaint when it begins to fail; the file goes on
    /// with a whole line on a line of its own once it works again.
    pub fn write(&mut self, bytes: &[u8]) -> Option<String> {
        let mut rest = bytes;
        if self.skipping {
            rest = &bytes[memchr(b'\n', bytes)? + 1..];
        }
        if rest.is_empty() {
            self.skipping = false;
            return None;
        }
        let torn = self.skipping || self.complained;
        let result = match torn && self.mid_line {
            true => self.write_all(b"\n").and_then(|()| self.write_all(rest)),
            false => self.write_all(rest),
        };
        match result {
            Ok(()) => {
                self.skipping = false;
                self.complained = false;
                None
            }
            Err(error) => {
                self.skipping = !rest.ends_with(b"\n");
                self.complaint(&error)
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.mid_line = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn complaint(&mut self, error: &io::Error) -> Option<String> {
        if self.complained {
            return None;
        }
        self.complained = true;
        Some(format!(
            "cannot write log file {}: {error}; lines are missing in it until it works again",
            self.path.display()
        ))
    }
}

fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    // O_EXCL: only a file that was made here is given away, and no symlink is followed for that.
    if let Ok(file) = options().create_new(true).mode(0o640).open(path) {
        if let Some((uid, gid)) = owner {
            // Only root may give files away; the lines are written either way.
            let _ = std::os::unix::fs::fchown(&file, Some(uid), Some(gid));
        }
        return Ok(file);
    }
    let file = open_existing(path)?;
    if is_the_daemons_own(&file) {
        return Err(io::Error::other(
            "it is the daemon's own standard output, where the lines go anyhow; remove log_file",
        ));
    }
    Ok(file)
}

/// O_NONBLOCK: a pipe without a reader must not hold the daemon up.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .append(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    options
}

/// Whoever may write to the log's directory could put a symlink there that leads root to any file. So
/// root follows links of its own only.
fn open_existing(path: &Path) -> io::Result<File> {
    let link = fs::symlink_metadata(path)
        .ok()
        .filter(|metadata| metadata.is_symlink());
    let Some(link) = link else {
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_NOFOLLOW;
        return options().custom_flags(flags).open(path);
    };
    if geteuid().is_root() && link.uid() != 0 {
        return Err(io::Error::other(format!(
            "it is a symlink of another user ({}); name the file it leads to instead",
            link.uid()
        )));
    }
    match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            options().create(true).mode(0o640).open(path)
        }
        result => result,
    }
}

/// Written twice, each line would appear twice.
fn is_the_daemons_own(file: &File) -> bool {
    let same = |other: &str| {
        let (Ok(a), Ok(b)) = (file.metadata(), fs::metadata(other)) else {
            return false;
        };
        a.dev() == b.dev() && a.ino() == b.ino() && !a.is_dir()
    };
    let is_null = fs::metadata("/dev/null").is_ok_and(|null| {
        file.metadata()
            .is_ok_and(|own| own.dev() == null.dev() && own.ino() == null.ino())
    });
    !is_null && (same("/proc/self/fd/1") || same("/proc/self/fd/2"))
}
