//! Where one service's output goes: its sink, and what the places behind it are to the kernel. A kind of place is made,
//! written, opened again and given up here; what children do for files is in `log_helpers.rs`.

use std::rc::Rc;

use super::context::Context;
use crate::base::Moment;
use crate::config::model::{Log, Service};
use crate::output::destination::{Destination, Kind};
use crate::output::file_text::FileText;
use crate::output::format::{Layout, Stamp};
use crate::output::prefix::Prefixer;
use crate::output::queue::Queue;
use crate::output::recent::{Mark, Recent};
use crate::output::sink::{Sink, StreamText};
use crate::sys::log_file::{LogFile, Rotation, Settings};

pub(super) struct Outlet {
    pub name: String,
    pub sink: Sink,
    /// Without standard output, which is the console's.
    places: Vec<Place>,
}

/// A place that is written by the loop, or by a child for it.
enum Place {
    File {
        file: Box<LogFile>,
        /// What it is opened with.
        settings: Rc<Settings>,
    },
}

/// The text side of all that the configuration names.
pub(super) fn sink_of(config: &Service, prefixer: &Prefixer) -> Sink {
    let log = &config.log;
    let layout = |prefix: String, screen: bool| {
        Layout::new(log.format, log.timestamps, &config.name, prefix, screen)
    };
    let mut destinations = Vec::with_capacity(2);
    if log.stdout {
        let layout = layout(prefixer.prefix(&config.name), prefixer.is_for_screen());
        destinations.push(Destination::Stdout(layout));
    }
    if config.log_file.is_some() {
        let text = FileText::new(layout(String::new(), false), log.format);
        destinations.push(Destination::File(Box::new(text)));
    }
    destinations.shrink_to_fit();
    let limit = usize::try_from(log.buffer).unwrap_or(usize::MAX);
    Sink::new(destinations, log.overflow, Recent::new(limit))
}

/// None: no file is to be there.
fn settings_of(config: &Service) -> Option<Settings> {
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
    Some(Settings {
        path,
        owner,
        rotation,
    })
}

impl Place {
    fn kind(&self) -> Kind {
        match self {
            Place::File { .. } => Kind::File,
        }
    }

    fn write(&mut self, text: &[u8], messages: &mut Vec<String>, now: Moment) {
        match self {
            Place::File { file, .. } => messages.extend(file.write(text, now)),
        }
    }

    /// An unfinished line was written as it is.
    fn pause_in_line(&mut self, messages: &mut Vec<String>) {
        match self {
            Place::File { file, .. } => messages.extend(file.pause_in_line()),
        }
    }

    fn set_patient(&mut self, is_patient: bool) {
        match self {
            Place::File { file, .. } => file.set_patient(is_patient),
        }
    }

    fn ask_to_reopen(&mut self) {
        match self {
            Place::File { file, .. } => file.ask_to_reopen(),
        }
    }

    fn needs_child(&self) -> bool {
        match self {
            Place::File { file, .. } => file.has_wish(),
        }
    }

    /// Whether it has no room for more, and the service waits.
    fn is_full(&mut self) -> bool {
        match self {
            Place::File { file, .. } => file.is_full(),
        }
    }
}

impl Outlet {
    /// Of a file, nothing is opened yet.
    pub fn new(config: &Service, sink: Sink) -> Outlet {
        let mut outlet = Outlet {
            name: config.name.clone(),
            sink,
            places: Vec::new(),
        };
        outlet.make_file(settings_of(config));
        outlet
    }

    fn make_file(&mut self, settings: Option<Settings>) {
        let is_patient = self.sink.is_patient();
        self.drop_file();
        let file = settings.map(|settings| Place::File {
            file: Box::new(LogFile::deferred(
                &settings.path,
                settings.rotation,
                is_patient,
            )),
            settings: Rc::new(settings),
        });
        self.places.extend(file);
    }

    /// Whether the service goes on with the log file it has.
    pub fn keeps_file(&self, config: &Service) -> bool {
        self.settings().as_deref() == settings_of(config).as_ref()
    }

    /// Other settings for output that goes on; a file that is the same stays open. Gives back whether it is another.
    pub fn fit(&mut self, config: &Service, sink: Sink) -> bool {
        self.sink.refit(sink);
        let is_other = !self.keeps_file(config);
        if is_other {
            self.make_file(settings_of(config));
        }
        let is_patient = self.sink.is_patient();
        for place in &mut self.places {
            place.set_patient(is_patient);
        }
        is_other
    }

    /// What its file is opened with.
    pub fn settings(&self) -> Option<Rc<Settings>> {
        let mut files = self.places.iter().map(|place| match place {
            Place::File { settings, .. } => settings.clone(),
        });
        files.next()
    }

    /// Its log file.
    pub fn log_file(&mut self) -> Option<&mut LogFile> {
        let mut files = self.places.iter_mut().map(|place| match place {
            Place::File { file, .. } => &mut **file,
        });
        files.next()
    }

    /// Has its places opened again, after another program renamed them. Returns whether there are any.
    pub fn ask_to_reopen(&mut self) -> bool {
        self.places.iter_mut().for_each(Place::ask_to_reopen);
        !self.places.is_empty()
    }

    /// Whether one of its places needs a child.
    pub fn needs_child(&self) -> bool {
        self.places.iter().any(Place::needs_child)
    }

    /// Whether the service waits for one of its places.
    pub fn is_full(&mut self) -> bool {
        self.places.iter_mut().any(Place::is_full)
    }

    /// Its file cannot be there before the service starts.
    pub fn drop_file(&mut self) {
        self.places.retain(|place| place.kind() != Kind::File);
    }

    /// Takes what was read. Gives back whether a place needs a child.
    pub fn take(
        &mut self,
        stream: &mut StreamText,
        bytes: &[u8],
        stamp: Stamp,
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) -> bool {
        let (places, now) = (&mut self.places, cx.now);
        let messages = &mut *cx.messages;
        let mut write = |kind, text: &[u8]| write_to(places, kind, text, messages, now);
        self.sink.take(stream, bytes, stamp, queue, &mut write);
        self.needs_child()
    }

    /// Takes a line that is not finished as it is. Gives back whether a place needs a child.
    pub fn flush(
        &mut self,
        stream: &mut StreamText,
        mark: Mark,
        stamp: Stamp,
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) -> bool {
        let (places, now) = (&mut self.places, cx.now);
        let messages = &mut *cx.messages;
        let mut write = |kind, text: &[u8]| write_to(places, kind, text, messages, now);
        self.sink.flush(stream, mark, stamp, queue, &mut write);
        for place in &mut self.places {
            place.pause_in_line(cx.messages);
        }
        self.needs_child()
    }
}

fn write_to(
    places: &mut [Place],
    kind: Kind,
    text: &[u8],
    messages: &mut Vec<String>,
    now: Moment,
) {
    for place in places.iter_mut().filter(|place| place.kind() == kind) {
        place.write(text, messages, now);
    }
}
