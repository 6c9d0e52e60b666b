//! A file system whose operations hang on demand, as a mount does whose server is gone (FUSE, linux/fuse.h).
//!
//! It shows the files of a folder. Each operation that is to hang gets no answer until [`Hanging::release`]. The mount is
//! in a mount namespace of the test's own thread, and of what that thread starts from then on: nothing is left to unmount.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::{PATIENCE, Stage};

/// An operation of the file system, by its number in the kernel's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A name is looked up.
    Lookup = 1,
    /// stat(2), and each look at permissions.
    Getattr = 3,
    /// chmod(2), chown(2), truncate(2).
    Setattr = 4,
    /// mknod(2), and bind(2) of a socket.
    Mknod = 8,
    Mkdir = 9,
    Unlink = 10,
    Rename = 12,
    Open = 14,
    Read = 15,
    Write = 16,
    Statfs = 17,
    Fsync = 20,
    /// close(2).
    Flush = 25,
    Opendir = 27,
    Readdir = 28,
    /// open(2) with O_CREAT of a file that is not there.
    Create = 35,
}

impl Op {
    /// Every operation.
    pub const ALL: [Op; 16] = [
        Op::Lookup,
        Op::Getattr,
        Op::Setattr,
        Op::Mknod,
        Op::Mkdir,
        Op::Unlink,
        Op::Rename,
        Op::Open,
        Op::Read,
        Op::Write,
        Op::Statfs,
        Op::Fsync,
        Op::Flush,
        Op::Opendir,
        Op::Readdir,
        Op::Create,
    ];
}

/// The file system, mounted.
pub struct Hanging {
    mount: PathBuf,
    behind: PathBuf,
    server: Arc<Server>,
}

impl Hanging {
    /// Mounts one on a folder of the stage.
    ///
    /// # Errors
    /// Why that is impossible here.
    pub fn on(stage: &Stage) -> Result<Hanging, String> {
        let cannot = |what: &'static str| move |error: Errno| format!("cannot {what}: {error}");
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| format!("cannot open /dev/fuse: {error}"))?;
        unshare(CloneFlags::CLONE_NEWNS).map_err(cannot("make a mount namespace"))?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .map_err(cannot("make the mounts private"))?;
        let (place, behind) = (stage.path("hanging"), stage.path("behind"));
        for folder in [&place, &behind] {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
            device.as_raw_fd()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("hanging"),
            &place,
            Some("fuse"),
            flags,
            Some(options.as_str()),
        )
        .map_err(cannot("mount a FUSE file system"))?;
        let server = Arc::new(Server {
            state: Mutex::new(State::new(behind.clone(), device.try_clone().unwrap())),
            held: Condvar::new(),
        });
        let serving = Arc::clone(&server);
        // It ends with the mount, which ends with the last process that sees it.
        std::thread::spawn(move || serving.serve(device));
        Ok(Hanging {
            mount: place,
            behind,
            server,
        })
    }

    /// A path in the mount.
    pub fn at(&self, name: &str) -> String {
        self.mount.join(name).display().to_string()
    }

    /// The same file as it is reached without the mount, which never hangs.
    pub fn behind(&self, name: &str) -> PathBuf {
        self.behind.join(name)
    }

    /// Makes a file, without going through the mount, that everybody may execute. Returns its path in the mount.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.behind(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.at(name)
    }

    /// From now on these operations get no answer, and the others do.
    pub fn hang(&self, operations: &[Op]) {
        let numbers = operations.iter().map(|operation| *operation as u32);
        self.server.state.lock().unwrap().hangs = numbers.collect();
    }

    /// Waits until a process hangs in one of the operations.
    pub fn wait_until_one_hangs(&self) {
        let state = self.server.state.lock().unwrap();
        let none = |state: &mut State| state.held.is_empty();
        let (state, waited) = self
            .server
            .held
            .wait_timeout_while(state, PATIENCE, none)
            .unwrap();
        drop(state);
        assert!(!waited.timed_out(), "no process hangs in the mount");
    }

    /// The mount works again: everything that hangs is answered.
    pub fn release(&self) {
        let mut state = self.server.state.lock().unwrap();
        state.hangs.clear();
        for request in std::mem::take(&mut state.held) {
            state.answer(&request);
        }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.release();
        // The folder goes with its stage, which a mount would prevent.
        let _ = umount2(&self.mount, MntFlags::MNT_DETACH);
    }
}

struct Server {
    state: Mutex<State>,
    /// A request hangs.
    held: Condvar,
}

impl Server {
    fn serve(&self, mut device: File) {
        // As large as the largest write, and what is around it.
        let mut buffer = vec![0; MAX_WRITE as usize + (64 << 10)];
        loop {
            let count = match device.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return,
                Err(_) => continue,
            };
            let request = &buffer[..count];
            let mut state = self.state.lock().unwrap();
            if state.hangs.contains(&u32_at(request, 4)) {
                state.held.push(request.to_vec());
                self.held.notify_all();
            } else {
                state.answer(request);
            }
        }
    }
}

const MAX_WRITE: u32 = 128 << 10;

/// The length of what is before each request's and each answer's own fields.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

struct State {
    device: File,
    hangs: BTreeSet<u32>,
    held: Vec<Vec<u8>>,
    /// The path behind each node; node 1 is the first one. None: removed.
    nodes: Vec<Option<PathBuf>>,
    files: BTreeMap<u64, (u64, File)>,
    next_file: u64,
}

type Answer = Result<Vec<u8>, Errno>;

impl State {
    fn new(behind: PathBuf, device: File) -> State {
        State {
            device,
            hangs: BTreeSet::new(),
            held: Vec::new(),
            nodes: vec![Some(behind)],
            files: BTreeMap::new(),
            next_file: 1,
        }
    }

    fn answer(&mut self, request: &[u8]) {
        let (operation, unique) = (u32_at(request, 4), u64_at(request, 8));
        let node = u64_at(request, 16);
        let fields = &request[IN_HEADER..];
        let answer = match operation {
            // FORGET, BATCH_FORGET and INTERRUPT are not answered.
            2 | 42 | 36 => return,
            26 => Ok(greeting(fields)),
            _ => self.serve(operation, node, fields),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-(error as i32), Vec::new()),
        };
        let mut bytes = Vec::with_capacity(OUT_HEADER + body.len());
        bytes.extend(((OUT_HEADER + body.len()) as u32).to_ne_bytes());
        bytes.extend(error.to_ne_bytes());
        bytes.extend(unique.to_ne_bytes());
        bytes.extend(body);
        // The process that asked may have been killed.
        let _ = self.device.write_all(&bytes);
    }

    fn serve(&mut self, operation: u32, node: u64, fields: &[u8]) -> Answer {
        match operation {
            1 => self.entry(node, name(fields)),
            3 => {
                let metadata = self.metadata(node)?;
                Ok(attributes_answer(node, &metadata))
            }
            4 => self.set_attributes(node, fields),
            8 => {
                let path = self.child(node, name(&fields[16..]))?;
                let mode = nix::sys::stat::mode_t::from(u32_at(fields, 0));
                let kind = nix::sys::stat::SFlag::from_bits_truncate(mode);
                let mode = nix::sys::stat::Mode::from_bits_truncate(mode);
                nix::sys::stat::mknod(&path, kind, mode, 0)?;
                self.entry(node, name(&fields[16..]))
            }
            9 => {
                fs::create_dir(self.child(node, name(&fields[8..]))?).map_err(errno)?;
                self.entry(node, name(&fields[8..]))
            }
            10 | 11 => self.remove(node, name(fields), operation == 11),
            12 => self.rename(node, u64_at(fields, 0), &fields[8..]),
            45 => self.rename(node, u64_at(fields, 0), &fields[16..]),
            14 => {
                let path = self.path(node)?;
                let file = open(&path, u32_at(fields, 0), false)?;
                Ok(self.handle(node, file))
            }
            15 => {
                let mut bytes = vec![0; u32_at(fields, 16) as usize];
                let file = self.file(u64_at(fields, 0))?;
                let count = file.read_at(&mut bytes, u64_at(fields, 8)).map_err(errno)?;
                bytes.truncate(count);
                Ok(bytes)
            }
            16 => {
                let size = u32_at(fields, 16);
                let bytes = &fields[40..40 + size as usize];
                let file = self.file(u64_at(fields, 0))?;
                file.write_all_at(bytes, u64_at(fields, 8)).map_err(errno)?;
                Ok(numbers32(&[size, 0]))
            }
            17 => Ok(statistics()),
            18 => {
                self.files.remove(&u64_at(fields, 0));
                Ok(Vec::new())
            }
            20 | 25 | 29 => Ok(Vec::new()),
            27 => Ok(numbers(&[0, 0])),
            28 => self.list(node, fields),
            35 => {
                let name = name(&fields[16..]);
                let path = self.child(node, name)?;
                let file = open(&path, u32_at(fields, 0), true)?;
                let mode = fs::Permissions::from_mode(u32_at(fields, 4) & 0o7777);
                file.set_permissions(mode).map_err(errno)?;
                let mut answer = self.entry(node, name)?;
                let node = u64_at(&answer, 0);
                answer.extend(self.handle(node, file));
                Ok(answer)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn path(&self, node: u64) -> Result<PathBuf, Errno> {
        let path = self.nodes.get(node as usize - 1).cloned().flatten();
        path.ok_or(Errno::ENOENT)
    }

    fn child(&self, node: u64, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(node)?.join(name))
    }

    fn file(&self, handle: u64) -> Result<&File, Errno> {
        self.files
            .get(&handle)
            .map(|(_, file)| file)
            .ok_or(Errno::EBADF)
    }

    /// A removed file is known by the descriptor that is still open.
    fn metadata(&self, node: u64) -> Result<Metadata, Errno> {
        match self.path(node) {
            Ok(path) => fs::symlink_metadata(path).map_err(errno),
            Err(missing) => {
                let open = self.files.values().find(|(of, _)| *of == node);
                let (_, file) = open.ok_or(missing)?;
                file.metadata().map_err(errno)
            }
        }
    }

    fn entry(&mut self, node: u64, name: &OsStr) -> Answer {
        let path = self.child(node, name)?;
        let metadata = fs::symlink_metadata(&path).map_err(errno)?;
        let known = |known: &Option<PathBuf>| known.as_ref() == Some(&path);
        let index = self.nodes.iter().position(known).unwrap_or_else(|| {
            self.nodes.push(Some(path.clone()));
            self.nodes.len() - 1
        });
        let node = index as u64 + 1;
        // Neither the entry nor its attributes are to be remembered by the kernel.
        let mut answer = numbers(&[node, 0, 0, 0, 0]);
        answer.extend(attributes(node, &metadata));
        Ok(answer)
    }

    fn handle(&mut self, node: u64, file: File) -> Vec<u8> {
        let handle = self.next_file;
        self.next_file += 1;
        self.files.insert(handle, (node, file));
        numbers(&[handle, 0])
    }

    fn set_attributes(&mut self, node: u64, fields: &[u8]) -> Answer {
        const MODE: u32 = 1;
        const OWNER: u32 = 2;
        const GROUP: u32 = 4;
        const SIZE: u32 = 8;
        let (path, valid) = (self.path(node)?, u32_at(fields, 0));
        if valid & SIZE != 0 {
            let file = OpenOptions::new().write(true).open(&path);
            file.and_then(|file| file.set_len(u64_at(fields, 16)))
                .map_err(errno)?;
        }
        if valid & MODE != 0 {
            let mode = fs::Permissions::from_mode(u32_at(fields, 68) & 0o7777);
            fs::set_permissions(&path, mode).map_err(errno)?;
        }
        let id = |bit: u32, at: usize| (valid & bit != 0).then(|| u32_at(fields, at));
        std::os::unix::fs::lchown(&path, id(OWNER, 76), id(GROUP, 80)).map_err(errno)?;
        Ok(attributes_answer(node, &self.metadata(node)?))
    }

    fn remove(&mut self, node: u64, name: &OsStr, is_folder: bool) -> Answer {
        let path = self.child(node, name)?;
        match is_folder {
            true => fs::remove_dir(&path),
            false => fs::remove_file(&path),
        }
        .map_err(errno)?;
        self.forget(&path);
        Ok(Vec::new())
    }

    fn rename(&mut self, node: u64, to: u64, names: &[u8]) -> Answer {
        let first = name(names);
        let from = self.child(node, first)?;
        let to = self.child(to, name(&names[first.len() + 1..]))?;
        fs::rename(&from, &to).map_err(errno)?;
        self.forget(&to);
        for known in self.nodes.iter_mut().flatten() {
            if *known == from {
                known.clone_from(&to);
            }
        }
        Ok(Vec::new())
    }

    fn forget(&mut self, path: &Path) {
        for known in &mut self.nodes {
            if known.as_deref() == Some(path) {
                *known = None;
            }
        }
    }

    /// Directory entries, from the offset on.
    fn list(&self, node: u64, fields: &[u8]) -> Answer {
        let (offset, size) = (u64_at(fields, 8) as usize, u32_at(fields, 16) as usize);
        let mut answer = Vec::new();
        let entries = fs::read_dir(self.path(node)?).map_err(errno)?;
        for (place, entry) in (1_u64..).zip(entries.flatten()).skip(offset) {
            let name = entry.file_name();
            let padded = name.len().next_multiple_of(8);
            if answer.len() + 24 + padded > size {
                break;
            }
            answer.extend(numbers(&[place + 100, place]));
            answer.extend(numbers32(&[name.len() as u32, 0]));
            answer.extend(name.as_bytes());
            answer.resize(answer.len() + padded - name.len(), 0);
        }
        Ok(answer)
    }
}

/// What INIT is answered with: the protocol's version 7.31, and bounds.
fn greeting(fields: &[u8]) -> Vec<u8> {
    let read_ahead = u32_at(fields, 8);
    let mut answer = numbers32(&[7, 31, read_ahead, 0]);
    // max_background and congestion_threshold, 16 bits each.
    answer.extend(numbers32(&[16 | 12 << 16, MAX_WRITE, 1]));
    answer.resize(64, 0);
    answer
}

fn statistics() -> Vec<u8> {
    let mut answer = numbers(&[1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19]);
    answer.extend(numbers32(&[4096, 255, 4096, 0]));
    answer.resize(80, 0);
    answer
}

fn attributes_answer(node: u64, metadata: &Metadata) -> Vec<u8> {
    let mut answer = numbers(&[0, 0]);
    answer.extend(attributes(node, metadata));
    answer
}

/// `struct fuse_attr`.
fn attributes(node: u64, of: &Metadata) -> Vec<u8> {
    let times = [of.atime() as u64, of.mtime() as u64, of.ctime() as u64];
    let mut answer = numbers(&[node, of.size(), of.blocks()]);
    answer.extend(numbers(&times));
    answer.extend(numbers32(&[0, 0, 0, of.mode(), of.nlink() as u32]));
    answer.extend(numbers32(&[of.uid(), of.gid(), 0, 4096, 0]));
    answer
}

/// The kernel keeps count of where to append.
fn open(path: &Path, flags: u32, create: bool) -> Result<File, Errno> {
    let writes = flags as i32 & libc::O_ACCMODE != libc::O_RDONLY;
    OpenOptions::new()
        .read(true)
        .write(writes || create)
        .create(create)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(errno)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// A name that ends with a zero.
fn name(fields: &[u8]) -> &OsStr {
    let name = fields.split(|byte| *byte == 0).next();
    OsStr::from_bytes(name.unwrap_or_default())
}

fn numbers(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

fn numbers32(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
