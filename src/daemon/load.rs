//! The configuration, before there is a loop. A child reads it, so that a file system that hangs keeps the daemon from
//! its start and not from its end: PID 1 cannot be ended while it waits for one itself (pid_namespaces(7)).

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::{DEFAULT_CONFIG, EXIT_USAGE, Options, Refusal, complain, wants_color};
use crate::base::Pid;
use crate::config::{self, Config, Files, Needed, Report};
use crate::sys::config_file::{self, Pipes};
use crate::sys::config_reader::{ConfigReader, Progress, Unreadable};
use crate::sys::facts::SystemFacts;
use crate::sys::recorded_facts::Recorded;
use crate::sys::signals::EndingSignals;

/// Received of the child at a time, in bytes.
const BYTES_AT_A_TIME: usize = 1 << 20;

/// A configuration and where it came from; `path` is None where only a main program is supervised.
pub(super) struct Loaded {
    pub config: Config,
    pub path: Option<PathBuf>,
    /// The child that read it, which is to be reaped.
    pub reader: Option<Pid>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// What is wrong with it, or which signal came meanwhile.
pub(super) fn load(options: &Options) -> Result<Loaded, Refusal> {
    let named = options.config.as_ref();
    let path = named.map_or_else(|| PathBuf::from(DEFAULT_CONFIG), PathBuf::clone);
    let mut source = Source::start(&path).map_err(|error| Refusal {
        text: format!("error: cannot watch signals: {error}\n"),
        code: 1,
    })?;
    let reader = source.reader.as_ref().map(ConfigReader::pid);
    let content = match source.content()? {
        Ok(content) => content,
        Err(error) if error.is_missing && named.is_none() && options.command.is_some() => {
            return Ok(Loaded {
                config: Config::default(),
                path: None,
                reader,
            });
        }
        Err(error) => {
            let text = format!(
                "error: cannot read {}: {}\n  = help: name the configuration with --config FILE or GO_OVERLAY_CONFIG, \
                 or give a program to supervise: go-overlay -- PROGRAM\n",
                path.display(),
                error.why
            );
            return Err(Refusal {
                text,
                code: EXIT_USAGE,
            });
        }
    };
    let files = Files::of(path.display().to_string(), content);
    let report = source.check(files)?;
    let color = wants_color(options.color, &std::io::stderr());
    let shown = report.render(color, "nothing was started");
    match report.config {
        Some(config) => {
            complain(&shown);
            Ok(Loaded {
                config,
                path: Some(path),
                reader,
            })
        }
        None => Err(Refusal {
            text: shown,
            code: EXIT_USAGE,
        }),
    }
}

/// Where the file's content comes from, and what is known of the machine.
struct Source<'p> {
    path: &'p Path,
    /// None where no child can be started: then the daemon itself has to wait.
    reader: Option<ConfigReader>,
    signals: EndingSignals,
    complained: bool,
}

impl Source<'_> {
    fn start(path: &Path) -> std::io::Result<Source<'_>> {
        Ok(Source {
            path,
            reader: ConfigReader::start_at_boot(path).ok(),
            signals: EndingSignals::new()?,
            complained: false,
        })
    }

    fn content(&mut self) -> Result<Result<Vec<u8>, Unreadable>, Refusal> {
        while let Some(reader) = &mut self.reader {
            match reader.take_content() {
                Some(content) => return Ok(content),
                None if reader.is_complete() => self.reader = None,
                None => self.receive()?,
            }
        }
        let content = config_file::read(self.path, Pipes::Inherited);
        Ok(content.map_err(|error| Unreadable::from(&error)))
    }

    /// Takes what the child sends, and waits for it. One that ended early is done without.
    fn receive(&mut self) -> Result<(), Refusal> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        match reader.receive(BYTES_AT_A_TIME) {
            Progress::Goes => return Ok(()),
            Progress::Ended if reader.is_complete() => return Ok(()),
            Progress::Ended => {
                self.reader = None;
                return Ok(());
            }
            Progress::Waits => {}
        }
        let waited = self.signals.wait_for(&*reader, !self.complained);
        let (path, touches) = (self.path.display(), reader.touches());
        match waited {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.complained = true;
                complain(&format!(
                    "go-overlay: reading {path} takes long: it waits for {touches}\n"
                ));
                Ok(())
            }
            Err(signal) => Err(Refusal {
                text: format!(
                    "error: {signal} received while {path} was read, at {touches}; nothing was started\n"
                ),
                code: 128 + signal.number(),
            }),
        }
    }

    /// The child looks up what the daemon comes to next at the same time.
    fn check(self, files: Files) -> Result<Report, Refusal> {
        let source = RefCell::new(self);
        let refusal = RefCell::new(None);
        let answer = |question: &[u8]| loop {
            let mut source = source.borrow_mut();
            let reader = source.reader.as_ref()?;
            if let Some(answer) = reader.answer(question) {
                return Some(answer);
            }
            if reader.is_complete() || refusal.borrow().is_some() {
                return None;
            }
            if let Err(error) = source.receive() {
                refusal.replace(Some(error));
            }
        };
        let facts = Recorded::new(&answer);
        let report = config::load(files, &facts, Needed::ByNone);
        match (refusal.borrow_mut().take(), facts.missed_any()) {
            (Some(refusal), _) => Err(refusal),
            (None, false) => Ok(report),
            (None, true) => {
                let facts = SystemFacts::new();
                Ok(config::load(report.files, &facts, Needed::ByNone))
            }
        }
    }
}
