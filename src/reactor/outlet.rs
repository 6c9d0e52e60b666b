//! Where one service's output goes: its sink, and its log file.

use std::rc::Rc;

use super::context::Context;
use crate::config::model::{Log, Service};
use crate::output::format::Stamp;
use crate::output::queue::Queue;
use crate::output::recent::Mark;
use crate::output::sink::{Sink, StreamText};
use crate::sys::log_file::{LogFile, Rotation, Settings};

pub(super) struct Outlet {
    pub name: String,
    pub sink: Sink,
    pub log_file: Option<Box<LogFile>>,
    /// None: it has no file, or none yet.
    file_settings: Option<Rc<Settings>>,
}

/// None: no file is to be there.
fn settings_of(config: &Service) -> Option<Rc<Settings>> {
    let Log {
        max_size,
        keep,
        compress,
        ..
    } = config.log;
    let rotation = max_size.map(|max_size| Rotation {
        max_size,
        keep,
        compress,
    });
    let (path, owner) = (config.log_file.clone()?, config.user.clone());
    Some(Rc::new(Settings {
        path,
        owner,
        rotation,
    }))
}

impl Outlet {
    /// Of a file, nothing is opened yet.
    pub fn new(config: &Service, sink: Sink) -> Outlet {
        let mut outlet = Outlet {
            name: config.name.clone(),
            sink,
            file_settings: settings_of(config),
            log_file: None,
        };
        outlet.make_file();
        outlet
    }

    fn make_file(&mut self) {
        let is_patient = self.sink.is_patient();
        self.log_file = self.file_settings.as_ref().map(|settings| {
            let file = LogFile::deferred(&settings.path, settings.rotation, is_patient);
            Box::new(file)
        });
    }

    /// Whether the service goes on with the log file it has.
    pub fn keeps_file(&self, config: &Service) -> bool {
        self.file_settings == settings_of(config)
    }

    /// Other settings for output that goes on; a file that is the same stays open. Gives back whether it is another.
    pub fn fit(&mut self, config: &Service, sink: Sink) -> bool {
        self.sink.refit(sink);
        let is_other = !self.keeps_file(config);
        if is_other {
            self.file_settings = settings_of(config);
            self.make_file();
        }
        if let Some(file) = &mut self.log_file {
            file.set_patient(self.sink.is_patient());
        }
        is_other
    }

    /// What its file is opened with.
    pub fn settings(&self) -> Option<Rc<Settings>> {
        self.file_settings.clone()
    }

    /// Whether its file needs a child.
    pub fn needs_child(&self) -> bool {
        self.log_file.as_ref().is_some_and(|file| file.has_wish())
    }

    /// Its file cannot be there before the service starts.
    pub fn drop_file(&mut self) {
        (self.log_file, self.file_settings) = (None, None);
    }

    /// Takes what was read. Gives back whether the file needs a child.
    pub fn take(
        &mut self,
        stream: &mut StreamText,
        bytes: &[u8],
        stamp: Stamp,
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) -> bool {
        let text = self.sink.take(stream, bytes, stamp, queue);
        let needs_child = write_file(&mut self.log_file, text, cx);
        self.sink.written();
        needs_child
    }

    /// Takes a line that is not finished as it is. Gives back whether the file needs a child.
    pub fn flush(
        &mut self,
        stream: &mut StreamText,
        mark: Mark,
        stamp: Stamp,
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) -> bool {
        let text = self.sink.flush(stream, mark, stamp, queue);
        write_file(&mut self.log_file, text, cx);
        if let Some(file) = &mut self.log_file {
            cx.messages.extend(file.pause_in_line());
        }
        self.sink.written();
        self.needs_child()
    }
}

/// Gives back whether the file needs a child.
fn write_file(file: &mut Option<Box<LogFile>>, text: Option<&[u8]>, cx: &mut Context<'_>) -> bool {
    let (Some(file), Some(text)) = (file, text) else {
        return false;
    };
    if !text.is_empty() {
        cx.messages.extend(file.write(text, cx.now));
    }
    file.has_wish()
}
