//! Where the machine keeps time zones: its database, `/etc/localtime`, and TZ. Reading may wait: the daemon does it
//! where it reads the configuration.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::schedule::{LOCALTIME, ZoneFile, ZoneFiles};

/// The variable that names another database, as for the C library.
const OTHER_DATABASE: &str = "TZDIR";

/// The folders of databases, in the order of the search.
const DATABASES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];

/// The largest file that is read. That of the zone with the most changes has 4 KiB.
const MAX_FILE: u64 = 64 << 10;

/// Reads files of zones; `touches` gets each path before it is touched.
pub struct SystemZones<'t> {
    touches: &'t dyn Fn(&[u8]),
}

impl<'t> SystemZones<'t> {
    /// Reads nothing yet.
    pub fn new(touches: &'t dyn Fn(&[u8])) -> SystemZones<'t> {
        SystemZones { touches }
    }

    fn read(&self, path: &str) -> Option<ZoneFile> {
        (self.touches)(path.as_bytes());
        // A FIFO or a device would be waited for.
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        let file = File::open(path).ok()?;
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(ZoneFile {
            path: path.to_owned(),
            bytes,
        })
    }
}

impl ZoneFiles for SystemZones<'_> {
    fn zone(&self, name: &str) -> Option<ZoneFile> {
        let other = std::env::var(OTHER_DATABASE).ok();
        let other = other.as_deref().filter(|folder| folder.starts_with('/'));
        let folders = other.into_iter().chain(DATABASES);
        folders
            .filter_map(|folder| self.read(&format!("{folder}/{name}")))
            .next()
    }

    fn file(&self, path: &str) -> Option<ZoneFile> {
        self.read(path)
    }

    fn local_link(&self) -> Option<String> {
        (self.touches)(LOCALTIME.as_bytes());
        let target = std::fs::read_link(Path::new(LOCALTIME)).ok()?;
        target.to_str().map(str::to_owned)
    }

    fn variable(&self) -> Option<String> {
        let value = std::env::var_os("TZ")?;
        Some(value.to_string_lossy().into_owned())
    }
}
