//! Rotation by the daemon itself: `web.log` becomes `web.log.1`, that one `web.log.2`, and so on; older
//! ones are compressed, a slice at a time, and the oldest goes.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use memchr::memchr;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::{Owner, opening};
use crate::sys::guarded::Folder;

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

/// Device and inode.
pub type Identity = (u64, u64);

impl Rotation {
    /// Makes a new file in the place of the old one, which is known by its identity; None where the old one has room.
    /// All of it happens in the one folder where the old file was found, by name there and not by path.
    ///
    /// # Errors
    /// When the old one cannot be renamed or no new one be made.
    pub fn perform(
        &self,
        path: &Path,
        owner: Owner,
        identity: Identity,
    ) -> io::Result<Option<File>> {
        let place = opening::find(path)?;
        let old = place.metadata()?;
        if place.linked || (old.dev(), old.ino()) != identity {
            return Err(io::Error::other(
                "it is a symlink, or was replaced; name the file itself",
            ));
        }
        if old.len() < self.max_size {
            return Ok(None);
        }
        self.shift(&place.folder, &place.name)?;
        new_file(&place.folder, &place.name, old, successor(old, owner)).map(Some)
    }

    /// Whether old files are compressed.
    pub fn compresses(&self) -> bool {
        self.compress && self.keep > 0
    }

    fn shift(&self, folder: &Folder, name: &OsStr) -> io::Result<()> {
        let keep = self.keep;
        for number in (1..=keep).rev() {
            for compressed in [false, true] {
                let from = numbered(name, number, compressed);
                let result = match number == keep {
                    true => folder.remove(&from),
                    false => folder.rename(&from, &numbered(name, number + 1, compressed)),
                };
                match result {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        match keep {
            0 => folder.remove(name),
            _ => folder.rename(name, &numbered(name, 1, false)),
        }
    }
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

/// An old file that is to be compressed.
#[derive(Debug)]
enum Archiving {
    /// It has its turn to come, and no descriptor until then.
    Due { device: u64, inode: u64 },
    /// It is under way.
    Begun(Box<Begun>),
}

/// An old file that is being compressed. Dropped before its time it leaves the old file as it was.
#[derive(Debug)]
struct Begun {
    folder: Folder,
    source: File,
    /// None once it is whole.
    encoder: Option<GzEncoder<File>>,
    plain: OsString,
    unfinished: OsString,
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

    /// Reads the file's real size. Only regular files have one and can be replaced.
    pub fn measure(&mut self, file: &File) {
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => self.size = metadata.len(),
            _ => self.due = u64::MAX,
        }
        // Cut by somebody else after a rotation that failed.
        if self.size < self.rules.max_size && self.due != u64::MAX {
            self.due = self.rules.max_size;
        }
    }

    /// What tells the file that is to be rotated from any other: its device and inode.
    pub fn identity(file: &File) -> io::Result<Identity> {
        let metadata = file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// A rotation is tried: once more only when the file has grown by a tenth.
    pub fn on_tried(&mut self) {
        self.due = self.size + self.rules.max_size / 10 + 1;
    }

    /// A new file is in the place of the old one, which is to be compressed here where nothing else does it.
    pub fn on_rotated(&mut self, old: Option<Identity>) {
        (self.size, self.due) = (0, self.rules.max_size);
        self.complained = false;
        if let Some((device, inode)) = old
            && self.rules.compresses()
        {
            self.archiving = Some(Archiving::Due { device, inode });
        }
    }

    /// Rotates at once; None where the old file has room again.
    ///
    /// # Errors
    /// As [`Rotation::perform`]; the old file is then written on.
    pub fn rotate(&mut self, path: &Path, owner: Owner, file: &File) -> io::Result<Option<File>> {
        self.measure(file);
        // Somebody else cut it meanwhile (`copytruncate`).
        if self.size < self.rules.max_size {
            return Ok(None);
        }
        self.on_tried();
        let identity = Rotator::identity(file)?;
        // One that is not finished leaves its file as it was.
        self.archiving = None;
        let new = self.rules.perform(path, owner, identity)?;
        if new.is_some() {
            self.on_rotated(Some(identity));
        }
        Ok(new)
    }

    /// Leaves the file that is being compressed as it was.
    pub fn abandon(&mut self) {
        self.archiving = None;
    }

    /// Compresses the next slice. What comes back is a complaint.
    pub fn work(&mut self, path: &Path) -> Option<String> {
        match self.advance(path) {
            Ok(true) => return None,
            Ok(false) => self.archiving = None,
            Err(error) => {
                self.archiving = None;
                if !std::mem::replace(&mut self.complained, true) {
                    let path = path.display();
                    return Some(format!(
                        "cannot compress {path}.1: {error}; it is kept as it is"
                    ));
                }
            }
        }
        None
    }

    /// False when it is done.
    fn advance(&mut self, path: &Path) -> io::Result<bool> {
        if let Some(Archiving::Due { device, inode }) = self.archiving {
            let begun = Begun::begin(path, (device, inode))?;
            self.archiving = Some(Archiving::Begun(Box::new(begun)));
        }
        match &mut self.archiving {
            Some(Archiving::Begun(begun)) => begun.advance(),
            _ => Ok(false),
        }
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
fn numbered(name: &OsStr, number: u32, compressed: bool) -> OsString {
    let mut name = name.to_owned();
    name.push(format!(".{number}"));
    if compressed {
        name.push(".gz");
    }
    name
}

/// Whose the next file is: the old one's owner's, unless somebody else than the daemon and the service has put the
/// old one there.
fn successor(old: &Metadata, owner: Owner) -> Owner {
    let service = owner.map_or(0, |(uid, _)| uid);
    match [0, geteuid().as_raw(), service].contains(&old.uid()) {
        true => Some((old.uid(), old.gid())),
        false => owner,
    }
}

/// Nobody's symlink is followed: the file is made here. It may be read and written as the old one, and never executed.
fn new_file(folder: &Folder, name: &OsStr, old: &Metadata, owner: Owner) -> io::Result<File> {
    let file = folder.create(name, 0o600)?;
    if let Some((uid, gid)) = owner {
        // Only root may give files away; whoever else runs the daemon made the old one too.
        let _ = fchown(&file, Some(uid), Some(gid));
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o666))?;
    Ok(file)
}

impl Begun {
    /// Begins with the file that was renamed last, if it is still the one of that device and inode.
    fn begin(path: &Path, identity: Identity) -> io::Result<Begun> {
        let place = opening::find(path)?;
        let (folder, plain) = (place.folder, numbered(&place.name, 1, false));
        let source = folder.open(&plain, OFlag::O_RDONLY)?;
        let found = source.metadata()?;
        if (found.dev(), found.ino()) != identity {
            return Err(io::Error::other("the old file was replaced"));
        }
        let mut unfinished = plain.clone();
        unfinished.push(".gz.tmp");
        // A daemon that was killed may have left one.
        let _ = folder.remove(&unfinished);
        // It holds what the old file held, and so it is the same user's.
        let owner = Some((found.uid(), found.gid()));
        let file = new_file(&folder, &unfinished, &found, owner)?;
        Ok(Begun {
            folder,
            source,
            encoder: Some(GzEncoder::new(file, Compression::fast())),
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
                let mut whole = self.plain.clone();
                whole.push(".gz");
                self.folder.rename(&self.unfinished, &whole)?;
                self.encoder = None;
                self.folder.remove(&self.plain)?;
                Ok(false)
            }
            Ok(count) => encoder.write_all(&slice[..count]).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.encoder.is_some() {
            let _ = self.folder.remove(&self.unfinished);
        }
    }
}
