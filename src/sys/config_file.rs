//! The configuration file, read whole. This may wait: in the daemon a child does it ([`super::config_reader`]).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::sys::statfs::statfs;

/// The longest file that is read: 128 bytes for each service that there can be.
const MAX_FILE: u64 = 64 << 20;

/// The file system of pipes that have no path of their own (linux/magic.h).
const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// Which files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipes {
    /// A pipe that was inherited too: `/dev/stdin`, `<(command)` of a shell.
    Inherited,
    /// No pipe. It was read before, and has nothing more.
    Refused,
}

/// The content of the file. A FIFO, which may never have a writer, is refused without opening it.
///
/// # Errors
/// open(2), read(2), and in words.
pub fn read(path: &Path, pipes: Pipes) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.file_type().is_fifo() {
        let is_inherited = statfs(path).is_ok_and(|system| {
            // The type of the field differs between architectures.
            #[allow(clippy::unnecessary_cast)]
            let magic = system.filesystem_type().0 as u64;
            magic == PIPEFS_MAGIC
        });
        match (is_inherited, pipes) {
            (true, Pipes::Inherited) => {}
            (true, Pipes::Refused) => {
                return Err(io::Error::other(
                    "it is a pipe, which can be read only once",
                ));
            }
            (false, _) => return Err(io::Error::other("it is a FIFO, not a regular file")),
        }
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {} MiB", MAX_FILE >> 20),
        )),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_fifo_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for pipes in [Pipes::Inherited, Pipes::Refused] {
            let error = read(&path, pipes).expect_err("a FIFO");
            assert_eq!(error.to_string(), "it is a FIFO, not a regular file");
        }
    }

    #[test]
    fn a_pipe_is_read_to_its_end_where_it_may_be() {
        let (ours, theirs) = nix::unistd::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", ours.as_raw_fd()));
        File::from(theirs).write_all(b"text").unwrap();
        let error = read(&path, Pipes::Refused).expect_err("a pipe");
        assert!(error.to_string().contains("only once"), "{error}");
        assert_eq!(read(&path, Pipes::Inherited).unwrap(), b"text");
    }

    #[test]
    fn what_has_no_end_is_too_large() {
        let error = read(Path::new("/dev/zero"), Pipes::Refused).expect_err("no end");
        assert_eq!(error.to_string(), "it is larger than 64 MiB");
        assert_eq!(read(Path::new("/dev/null"), Pipes::Refused).unwrap(), b"");
    }
}
