//! Files that the daemon, as root, uses by path on a service's behalf.
//!
//! A path is walked name by name, and each name is opened (O_PATH) before it is judged, so that what was judged is
//! what is used (path_resolution(7)). While only root and the daemon's own user can have put there what is found, the
//! path is trusted: links are followed, and the daemon's rights count. Behind the first place that another user can
//! write, the path is judged with the rights of the service's user, or links are refused. A path that has lost trust
//! never regains it. Access control lists are seen as far as the mode bits show them (acl(5)): a folder that a list
//! lets others write has the group's write bit.

mod rights;

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{
    DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC, SECURITYFS_MAGIC, SYSFS_MAGIC, TRACEFS_MAGIC, fstatfs,
};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

pub use rights::Rights;
use rights::{EXECUTE, READ, WRITE};

/// Links on the way, as many as the kernel follows.
const MAX_LINKS: u32 = 40;

/// Write permission for others than the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// What is done with links behind the first place that another user can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are followed as far as the user could follow them.
    Judged,
    /// They are an error. A daemon that is not root goes on to follow its own.
    Refused,
}

/// An open folder; names in it are looked up there and nowhere else, and links are not followed.
#[derive(Debug)]
pub struct Folder(File);

impl Folder {
    /// Opens a file without waiting (O_NONBLOCK) and without taking a terminal over.
    ///
    /// # Errors
    /// openat(2); ELOOP for a link.
    pub fn open(&self, name: &OsStr, flags: OFlag) -> io::Result<File> {
        self.open_with(name, flags | OFlag::O_NOFOLLOW, 0)
    }

    /// Makes a file, for appending.
    ///
    /// # Errors
    /// openat(2); EEXIST where there is anything of that name.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_APPEND;
        self.open_with(name, flags | OFlag::O_NOFOLLOW, mode)
    }

    fn open_with(&self, name: &OsStr, flags: OFlag, mode: u32) -> io::Result<File> {
        let always = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        Ok(File::from(openat(&self.0, name, flags | always, mode)?))
    }

    /// Renames a file within the folder; another one of the new name goes.
    ///
    /// # Errors
    /// renameat(2).
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// unlinkat(2).
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }
}

/// What a name stands for: open (O_PATH), so that it cannot change.
#[derive(Debug)]
struct Node {
    file: File,
    metadata: Metadata,
}

impl Node {
    fn open(folder: impl AsFd, name: &OsStr, flags: OFlag) -> io::Result<Node> {
        let flags = flags | OFlag::O_PATH | OFlag::O_CLOEXEC;
        let file = File::from(openat(folder, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        Ok(Node { file, metadata })
    }

    /// Whether it is in one of the file systems where the kernel looks at who opens, and not at the mode alone.
    fn is_of_the_kernel(&self) -> bool {
        const KINDS: [FsType; 5] = [
            PROC_SUPER_MAGIC,
            SYSFS_MAGIC,
            DEBUGFS_MAGIC,
            TRACEFS_MAGIC,
            SECURITYFS_MAGIC,
        ];
        let kind = fstatfs(&self.file).map(|system| system.filesystem_type());
        kind.map_or(true, |kind| KINDS.contains(&kind))
    }

    fn is_in_proc(&self) -> bool {
        fstatfs(&self.file).is_ok_and(|system| system.filesystem_type() == PROC_SUPER_MAGIC)
    }
}

/// Where a path leads.
#[derive(Debug)]
pub struct Place {
    /// The folder of what it leads to.
    pub folder: Folder,
    /// Its name there.
    pub name: OsString,
    /// Only root and the daemon's own user had a say in what is there.
    pub trusted: bool,
    /// Another user than these and the one on whose behalf it is used can write the file, or put another in its place.
    pub foreign: bool,
    /// The path itself is a link.
    pub linked: bool,
    node: Option<Node>,
    /// A link of /proc, which no name stands for.
    magic: bool,
}

impl Place {
    /// What is there.
    ///
    /// # Errors
    /// ENOENT.
    pub fn metadata(&self) -> io::Result<&Metadata> {
        Ok(&self.node()?.metadata)
    }

    /// The open file (O_PATH), for what fstatvfs(2) says of it.
    ///
    /// # Errors
    /// ENOENT.
    pub fn file(&self) -> io::Result<&File> {
        Ok(&self.node()?.file)
    }

    fn node(&self) -> io::Result<&Node> {
        self.node.as_ref().ok_or_else(|| Errno::ENOENT.into())
    }

    /// Opens what was found, and nothing that has taken its place since.
    ///
    /// # Errors
    /// openat(2), and in words where it was replaced.
    pub fn open(&self, flags: OFlag) -> io::Result<File> {
        let found = self.metadata()?;
        let file = match self.magic {
            true => self.folder.open_with(&self.name, flags, 0)?,
            false => self.folder.open(&self.name, flags)?,
        };
        match is_same(&file.metadata()?, found) {
            true => Ok(file),
            false => Err(io::Error::other("it was replaced while it was opened")),
        }
    }

    /// Opens it for reading as far as this user could: where the path is not trusted, a regular file only.
    ///
    /// # Errors
    /// As [`Place::open`].
    pub fn open_to_read(&self, rights: &Rights) -> io::Result<File> {
        let node = self.node()?;
        if !self.trusted && !rights.are_own() {
            if !node.metadata.is_file() || node.is_of_the_kernel() {
                return Err(io::Error::other("it is not a regular file"));
            }
            if !rights.may(READ, &node.metadata) {
                return Err(Errno::EACCES.into());
            }
        }
        self.open(OFlag::O_RDONLY)
    }
}

/// Whether two are one file.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where a path leads, seen with the rights of a user. The last name may be missing.
///
/// # Errors
/// openat(2), EACCES where the user may not pass, and in words for a link that is refused.
pub fn find(path: &Path, rights: &Rights, links: Links) -> io::Result<Place> {
    let mut walk = Walk {
        rights,
        links,
        own: geteuid().as_raw(),
        folder: Node::open(AT_FDCWD, OsStr::new("."), OFlag::O_DIRECTORY)?,
        shared: false,
        trusted: true,
        foreign: false,
        linked: false,
        followed: 0,
        steps: Vec::new(),
    };
    walk.push(path);
    if walk.steps.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    if !path.has_root() {
        walk.judge_folder();
    }
    walk.run()
}

/// A path by which connect(2) reaches the socket that this user could reach.
#[derive(Debug)]
pub struct SocketPath {
    /// The path.
    pub path: PathBuf,
    /// What the path stands for as long as this is open.
    _node: Option<File>,
}

/// Where to connect to for a socket's path. A socket in a place that other users can write has to be one that the
/// service's user may connect to; /proc is needed to name it.
///
/// # Errors
/// As [`find`], and EACCES where the user may not connect.
pub fn find_socket(path: &Path, rights: &Rights) -> io::Result<SocketPath> {
    let as_it_is = || SocketPath {
        path: path.to_owned(),
        _node: None,
    };
    if rights.are_own() {
        return Ok(as_it_is());
    }
    let place = find(path, rights, Links::Judged)?;
    if place.trusted {
        return Ok(as_it_is());
    }
    let Place { node, .. } = place;
    let node = node.ok_or(Errno::ENOENT)?;
    if !node.metadata.file_type().is_socket() {
        return Err(io::Error::other("it is not a socket"));
    }
    if !rights.may(WRITE, &node.metadata) {
        return Err(Errno::EACCES.into());
    }
    Ok(SocketPath {
        path: format!("/proc/self/fd/{}", node.file.as_raw_fd()).into(),
        _node: Some(node.file),
    })
}

/// A part of a path.
enum Step {
    Root,
    Up,
    Name(OsString),
}

/// The last name of a path, which is no link to follow any more.
struct Last {
    name: OsString,
    node: Option<Node>,
    magic: bool,
}

impl Last {
    fn new(name: OsString, node: Option<Node>) -> Last {
        Last {
            name,
            node,
            magic: false,
        }
    }
}

/// A path on its way.
struct Walk<'r> {
    rights: &'r Rights,
    links: Links,
    /// The daemon's user.
    own: u32,
    folder: Node,
    /// Everybody can make files in the folder, and nobody can replace those of others (the sticky bit).
    shared: bool,
    trusted: bool,
    foreign: bool,
    linked: bool,
    followed: u32,
    /// What is to come, the next one last.
    steps: Vec<Step>,
}

impl Walk<'_> {
    fn push(&mut self, path: &Path) {
        let steps = path.components().rev().filter_map(|part| match part {
            Component::RootDir => Some(Step::Root),
            Component::ParentDir => Some(Step::Up),
            Component::Normal(name) => Some(Step::Name(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        });
        self.steps.extend(steps);
    }

    fn run(mut self) -> io::Result<Place> {
        while let Some(step) = self.steps.pop() {
            let last = match step {
                Step::Root => {
                    let root = Node::open(AT_FDCWD, OsStr::new("/"), OFlag::O_DIRECTORY)?;
                    self.enter(root)?
                }
                Step::Up => {
                    let up = self.look_up(OsStr::new(".."))?;
                    self.enter(up)?
                }
                Step::Name(name) => match self.look_up(&name) {
                    Err(error) if self.steps.is_empty() && is_missing(&error) => {
                        Some(Last::new(name, None))
                    }
                    node => self.pass(name, node?)?,
                },
            };
            if let Some(last) = last {
                return Ok(self.end(last));
            }
        }
        // It ends with a folder's other name: `/`, `..`.
        let name = OsStr::new(".");
        let node = self.look_up(name)?;
        Ok(self.end(Last::new(name.to_owned(), Some(node))))
    }

    /// What a name in the folder stands for, if the user may look it up there.
    fn look_up(&self, name: &OsStr) -> io::Result<Node> {
        let passes = self.trusted || self.rights.may(EXECUTE, &self.folder.metadata);
        match passes {
            true => Node::open(&self.folder.file, name, OFlag::O_NOFOLLOW),
            false => Err(Errno::EACCES.into()),
        }
    }

    /// Goes by one name.
    fn pass(&mut self, name: OsString, node: Node) -> io::Result<Option<Last>> {
        self.judge_entry(&node.metadata);
        if node.metadata.is_symlink() {
            return self.follow(name, &node);
        }
        match self.steps.is_empty() {
            true => Ok(Some(Last::new(name, Some(node)))),
            false => self.enter(node),
        }
    }

    fn follow(&mut self, name: OsString, link: &Node) -> io::Result<Option<Last>> {
        let last = self.steps.is_empty();
        self.followed += 1;
        if self.followed > MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        self.linked |= last;
        // Those of /proc lead to open files, whatever their text says.
        if self.trusted && link.is_in_proc() {
            let node = Node::open(&self.folder.file, &name, OFlag::empty())?;
            return match last {
                true => Ok(Some(Last {
                    name,
                    node: Some(node),
                    magic: true,
                })),
                false => self.enter(node),
            };
        }
        let owner = link.metadata.uid();
        let is_ours = self.own != 0 && (owner == self.own || owner == 0);
        if !self.trusted && self.links == Links::Refused && !is_ours {
            return Err(refused(&name, owner, last));
        }
        let target = readlinkat(&link.file, OsStr::new(""))?;
        self.push(Path::new(&target));
        Ok(None)
    }

    fn enter(&mut self, folder: Node) -> io::Result<Option<Last>> {
        if !folder.metadata.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        self.folder = folder;
        self.judge_folder();
        Ok(None)
    }

    /// Who can put something into the folder.
    fn judge_folder(&mut self) {
        let (owner, mode) = (self.folder.metadata.uid(), self.folder.metadata.mode());
        self.judge_owner(owner);
        let writable = mode & WRITABLE_BY_OTHERS != 0;
        self.shared = writable && mode & STICKY != 0;
        if writable && !self.shared {
            self.distrust();
        }
    }

    /// Who can have put this into the folder: in a shared one its owner, or whoever made a second link to it.
    fn judge_entry(&mut self, entry: &Metadata) {
        if self.shared || entry.is_symlink() {
            self.judge_owner(entry.uid());
        }
        if self.shared && !entry.is_dir() && entry.nlink() > 1 {
            self.distrust();
        }
    }

    fn judge_owner(&mut self, owner: u32) {
        if owner != 0 && owner != self.own {
            self.trusted = false;
            self.foreign |= owner != self.rights.uid;
        }
    }

    fn distrust(&mut self) {
        self.trusted = false;
        self.foreign = true;
    }

    fn end(self, last: Last) -> Place {
        let Last { name, node, magic } = last;
        let foreign = node.as_ref().is_some_and(|node| {
            let (owner, mode) = (node.metadata.uid(), node.metadata.mode());
            let theirs = ![0, self.own, self.rights.uid].contains(&owner);
            theirs || mode & WRITABLE_BY_OTHERS != 0
        });
        Place {
            folder: Folder(self.folder.file),
            name,
            trusted: self.trusted,
            foreign: self.foreign || foreign,
            linked: self.linked,
            node,
            magic,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

fn refused(name: &OsStr, owner: u32, last: bool) -> io::Error {
    let whose = match owner {
        0 => "a symlink in a folder that another user can write".to_owned(),
        uid => format!("a symlink of another user ({uid})"),
    };
    io::Error::other(match last {
        true => format!("it is {whose}; name the file it leads to instead"),
        false => format!(
            "its folder {} is {whose}; name the folder it leads to instead",
            name.display()
        ),
    })
}
