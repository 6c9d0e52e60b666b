//! A folder for one test, with the files that its configuration names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
        path
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
