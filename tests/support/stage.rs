//! A folder for one test, with the files that its configuration names.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{PATIENCE, until};

/// A folder that goes with the test. Others may look into it (servers that drop root read their files
/// there); the control socket has a closed folder inside it.
pub struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// An empty one.
    pub fn new() -> Stage {
        let folder = tempfile::Builder::new()
            .prefix("go-overlay-test-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = folder.path().join("control");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        Stage { folder }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A path inside, as text for a configuration.
    pub fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("control/go-overlay.sock")
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        if let Some(parent) = self.path(name).parent() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::write(self.path(name), text).unwrap();
        self.at(name)
    }

    /// Writes an executable file and gives its path.
    pub fn program(&self, name: &str, text: &str) -> String {
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        wait_until_executable(Path::new(&path));
        path
    }

    /// Copies a program and gives the path of the copy, which every user may execute.
    pub fn copy_of(&self, program: impl AsRef<Path>, name: &str) -> String {
        if let Some(parent) = self.path(name).parent() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::copy(program, self.path(name)).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        wait_until_executable(&self.path(name));
        self.at(name)
    }

    /// Makes a folder that every user may write and gives its path.
    pub fn open_folder(&self, name: &str) -> String {
        fs::create_dir_all(self.path(name)).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o777)).unwrap();
        self.at(name)
    }

    /// What a file holds now; empty while it is not there.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

/// Waits until no process has the file open for writing: such a one cannot be executed (ETXTBSY). A process that another
/// thread of the tests is just starting may have inherited the descriptor, until its own execution.
fn wait_until_executable(path: &Path) {
    let file = File::open(path).unwrap();
    // A read lease is refused while there is a writer (fcntl(2)).
    // SAFETY: takes numbers only.
    let lease = |kind: i32| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    until("a file that no process writes", PATIENCE, || {
        let refused = lease(libc::F_RDLCK) < 0 && Errno::last() == Errno::EAGAIN;
        (!refused).then(|| lease(libc::F_UNLCK))
    });
}

/// A string as TOML (and JSON) writes it.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// The Python interpreter of the environment that `tests/setup.sh` made.
pub fn python() -> Option<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
    };
    let python = target.join("test-venv/bin/python");
    python.exists().then_some(python)
}
