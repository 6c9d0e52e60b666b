//! Rotation by the daemon itself: `web.log` becomes `web.log.1`, that one `web.log.2`, and so on; older
//! ones are compressed, a slice at a time, and the oldest goes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use memchr::memchr;

/// When a log file is rotated, and what becomes of the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes from which on the file is rotated, at the next end of a line.
    pub max_size: u64,
    /// How many old files are kept; with 0 the file is begun anew.
    pub keep: u32,
    /// Old files are compressed (gzip).
    pub compress: bool,
}

/// Read of an old file at a time: some milliseconds of work.
const SLICE_BYTES: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Rotator {
    rules: Rotation,
    /// How large the file is, as far as is known.
    size: u64,
    /// From this size on rotation is tried; behind `max_size` where it failed.
    due: u64,
    archiving: Option<Archiving>,
    complained: bool,
}

/// An old file that is being compressed. Dropped before its time it leaves the old file as it was.
#[derive(Debug)]
struct Archiving {
    source: File,
    /// None once it is whole.
    encoder: Option<GzEncoder<File>>,
    plain: PathBuf,
    unfinished: PathBuf,
}

impl Rotator {
    pub fn new(rules: Rotation) -> Rotator {
        Rotator {
            rules,
            size: 0,
            due: rules.max_size,
            archiving: None,
            complained: false,
        }
    }

    pub fn on_open(&mut self, file: &File) {
        self.due = self.rules.max_size;
        self.measure(file);
    }

    pub fn on_written(&mut self, count: usize) {
        self.size += count as u64;
    }

    pub fn has_work(&self) -> bool {
        self.archiving.is_some()
    }

    /// Where within these bytes the file is to end, if they fill it.
    pub fn end_within(&self, bytes: &[u8]) -> Option<usize> {
        let room = usize::try_from(self.due.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let from = room.saturating_sub(1);
        let end = memchr(b'\n', bytes.get(from..)?)?;
        Some(from + end + 1)
    }

    /// Only regular files have a size and can be replaced.
    fn measure(&mut self, file: &File) {
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => self.size = metadata.len(),
            _ => self.due = u64::MAX,
        }
    }

    /// Puts a new file in the place of the old one.
    ///
    /// # Errors
    /// When the old one cannot be renamed or no new one be made; it is then written on, and tried again
    /// when it has grown by a tenth.
    pub fn rotate(&mut self, path: &Path, file: &mut File) -> io::Result<()> {
        self.measure(file);
        // Somebody else cut it meanwhile (`copytruncate`).
        if self.size < self.rules.max_size {
            self.due = self.rules.max_size;
            return Ok(());
        }
        self.due = self.size + self.rules.max_size / 10 + 1;
        let old = file.metadata()?;
        if fs::symlink_metadata(path)?.ino() != old.ino() {
            return Err(io::Error::other(
                "it is a symlink, or was replaced; name the file itself",
            ));
        }
        // One that is not finished leaves its file as it was.
        self.archiving = None;
        self.shift(path)?;
        *file = new_file(path, &old)?;
        (self.size, self.due) = (0, self.rules.max_size);
        self.complained = false;
        if self.rules.compress && self.rules.keep > 0 {
            self.archiving = Some(Archiving::begin(numbered(path, 1, false), &old)?);
        }
        Ok(())
    }

    fn shift(&self, path: &Path) -> io::Result<()> {
        let keep = self.rules.keep;
        for number in (1..=keep).rev() {
            for compressed in [false, true] {
                let from = numbered(path, number, compressed);
                let result = match number == keep {
                    true => fs::remove_file(&from),
                    false => fs::rename(&from, numbered(path, number + 1, compressed)),
                };
                match result {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        match keep {
            0 => fs::remove_file(path),
            _ => fs::rename(path, numbered(path, 1, false)),
        }
    }

    /// Compresses the next slice. What comes back is a complaint.
    pub fn work(&mut self) -> Option<String> {
        let archiving = self.archiving.as_mut()?;
        let plain = archiving.plain.clone();
        match archiving.advance() {
            Ok(true) => {}
            Ok(false) => self.archiving = None,
            Err(error) => {
                self.archiving = None;
                if !std::mem::replace(&mut self.complained, true) {
                    let plain = plain.display();
                    return Some(format!(
                        "cannot compress {plain}: {error}; it is kept as it is"
                    ));
                }
            }
        }
        None
    }

    pub fn complaint(&mut self, path: &Path, error: &io::Error) -> Option<String> {
        let told = std::mem::replace(&mut self.complained, true);
        (!told).then(|| {
            format!(
                "cannot rotate log file {}: {error}; it goes on to grow",
                path.display()
            )
        })
    }
}

/// `web.log.3`, `web.log.3.gz`.
fn numbered(path: &Path, number: u32, compressed: bool) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    if compressed {
        name.push(".gz");
    }
    name.into()
}

/// Nobody's symlink is followed: the file is made here. It is as the old one was.
fn new_file(path: &Path, old: &fs::Metadata) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .custom_flags(libc::O_NOCTTY)
        .mode(0o600)
        .open(path)?;
    // Only root may give files away; whoever else runs the daemon made the old one too.
    let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    Ok(file)
}

impl Archiving {
    fn begin(plain: PathBuf, old: &fs::Metadata) -> io::Result<Archiving> {
        let source = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(&plain)?;
        let found = source.metadata()?;
        if (found.dev(), found.ino()) != (old.dev(), old.ino()) {
            return Err(io::Error::other("the old file was replaced"));
        }
        let mut unfinished = plain.as_os_str().to_owned();
        unfinished.push(".gz.tmp");
        let unfinished = PathBuf::from(unfinished);
        // A daemon that was killed may have left one.
        let _ = fs::remove_file(&unfinished);
        let encoder = GzEncoder::new(new_file(&unfinished, old)?, Compression::fast());
        Ok(Archiving {
            source,
            encoder: Some(encoder),
            plain,
            unfinished,
        })
    }

    /// False when it is done.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(false);
        };
        let mut slice = [0; SLICE_BYTES];
        match self.source.read(&mut slice) {
            Ok(0) => {
                encoder.try_finish()?;
                let mut whole = self.plain.as_os_str().to_owned();
                whole.push(".gz");
                fs::rename(&self.unfinished, whole)?;
                self.encoder = None;
                fs::remove_file(&self.plain)?;
                Ok(false)
            }
            Ok(count) => encoder.write_all(&slice[..count]).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Archiving {
    fn drop(&mut self) {
        if self.encoder.is_some() {
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}
