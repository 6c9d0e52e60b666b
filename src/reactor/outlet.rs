//! Where one service's output goes: its sink, and its log file.

use std::path::PathBuf;

use super::streams::Outside;
use crate::config::model::{Log, Service, UserSpec};
use crate::output::format::Stamp;
use crate::output::recent::Mark;
use crate::output::sink::{Sink, StreamText};
use crate::sys::log_file::LogFile;

pub(super) struct Outlet {
    pub name: String,
    pub sink: Sink,
    pub log_file: Option<Box<LogFile>>,
    /// None: it is to have none.
    file_settings: Option<Box<FileSettings>>,
}

/// What a log file is opened with.
#[derive(PartialEq, Eq)]
struct FileSettings {
    path: PathBuf,
    owner: Option<Box<UserSpec>>,
    rotation: Option<(u64, u32, bool)>,
}

impl FileSettings {
    fn of(config: &Service) -> Option<FileSettings> {
        let Log {
            max_size,
            keep,
            compress,
            ..
        } = config.log;
        Some(FileSettings {
            path: config.log_file.clone()?,
            owner: config.user.clone(),
            rotation: max_size.map(|size| (size, keep, compress)),
        })
    }
}

/// None where no file was opened yet.
fn settings_of(log_file: &Option<LogFile>, config: &Service) -> Option<Box<FileSettings>> {
    log_file.as_ref()?;
    FileSettings::of(config).map(Box::new)
}

impl Outlet {
    pub fn new(config: &Service, sink: Sink, log_file: Option<LogFile>) -> Outlet {
        Outlet {
            name: config.name.clone(),
            sink,
            file_settings: settings_of(&log_file, config),
            log_file: log_file.map(Box::new),
        }
    }

    /// Whether the service goes on with the log file it has.
    pub fn keeps_file(&self, config: &Service) -> bool {
        self.log_file.is_some() && self.has_file_of(config)
    }

    /// Other settings for output that goes on; a file that is the same stays open. Gives back whether it is another.
    pub fn fit(&mut self, config: &Service, sink: Sink, log_file: Option<LogFile>) -> bool {
        self.sink.refit(sink);
        let is_other = !self.has_file_of(config);
        if is_other {
            self.file_settings = settings_of(&log_file, config);
            self.log_file = log_file.map(Box::new);
        }
        is_other
    }

    fn has_file_of(&self, config: &Service) -> bool {
        self.file_settings.as_deref() == FileSettings::of(config).as_ref()
    }

    /// Takes what was read. Gives back whether the file has work of its own to do.
    pub fn take(
        &mut self,
        stream: &mut StreamText,
        bytes: &[u8],
        stamp: Stamp,
        outside: &mut Outside<'_>,
    ) -> bool {
        let text = self.sink.take(stream, bytes, stamp, outside.queue);
        let has_work = write_file(&mut self.log_file, text, outside);
        self.sink.written();
        has_work
    }

    /// Takes a line that is not finished as it is. Gives back whether the file has work of its own to do.
    pub fn flush(
        &mut self,
        stream: &mut StreamText,
        mark: Mark,
        stamp: Stamp,
        outside: &mut Outside<'_>,
    ) -> bool {
        let text = self.sink.flush(stream, mark, stamp, outside.queue);
        let has_work = write_file(&mut self.log_file, text, outside);
        if let Some(file) = &mut self.log_file {
            outside.messages.extend(file.pause_in_line());
        }
        self.sink.written();
        has_work
    }
}

/// Gives back whether the file has work of its own to do.
fn write_file(
    file: &mut Option<Box<LogFile>>,
    text: Option<&[u8]>,
    outside: &mut Outside<'_>,
) -> bool {
    let (Some(file), Some(text)) = (file, text) else {
        return false;
    };
    if !text.is_empty() {
        outside.messages.extend(file.write(text, outside.now));
    }
    file.has_work()
}
