//! What the daemon hands over, and how the reactor is made of it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;

use mio::Interest;
use mio::unix::SourceFd;

use super::Reactor;
use super::context::Common;
use super::jobs::Jobs;
use super::manager::Manager;
use super::output::Output;
use super::perform::Told;
use super::probes::Probes;
use super::reload::Reloads;
use super::serve::Clients;
use super::timers::Timers;
use super::token::Source;
use super::trouble::Trouble;
use crate::base::Pid;
use crate::domain::Clock;
use crate::output::prefix::Prefixer;
use crate::supervisor::Supervisor;
use crate::sys::clock;
use crate::sys::manager::ManagerSocket;
use crate::sys::signals::SignalFd;

/// What the daemon hands over.
pub struct Setup {
    /// Built from the checked configuration.
    pub supervisor: Supervisor,
    /// By which it was built.
    pub clock: Clock,
    /// The blocked signals, readable.
    pub signals: SignalFd,
    /// The control socket; None where none could be had.
    pub listener: Option<UnixListener>,
    /// How names are shown.
    pub prefixer: Prefixer,
    /// The configuration file, for `version`.
    pub config_path: Option<String>,
    /// Say more.
    pub debug: bool,
    /// The service manager above the daemon, where there is one.
    pub manager: Option<ManagerSocket>,
    /// Messages from before the loop.
    pub messages: Vec<String>,
    /// The child that read the configuration, which is to be reaped.
    pub reader: Option<Pid>,
}

impl Reactor {
    /// Registers everything with the kernel.
    ///
    /// # Errors
    /// When the kernel grants no epoll or timer descriptor: there is nothing to be done without.
    pub fn new(setup: Setup) -> io::Result<Box<Reactor>> {
        let mut clock = setup.clock;
        clock.advance(clock::next_reading(clock.reading()), None);
        let now = clock.now().mono;
        let common = Common::new(setup.supervisor, clock, setup.messages)?;
        let timers = Timers::new(common.poll.registry())?;
        let watch = |fd: RawFd, source: Source| {
            common
                .poll
                .registry()
                .register(&mut SourceFd(&fd), source.token(), Interest::READABLE)
        };
        watch(setup.signals.as_raw_fd(), Source::Signals)?;
        if let Some(listener) = &setup.listener {
            watch(listener.as_raw_fd(), Source::Listener)?;
        }
        let mut reactor = Box::new(Reactor {
            common,
            signals: setup.signals,
            trouble: Trouble::default(),
            timers,
            clients: Clients::new(setup.listener, setup.config_path.clone()),
            jobs: Jobs::new(),
            output: Output::new(setup.prefixer, now),
            probes: Probes::default(),
            manager: Manager::new(setup.manager),
            told: Told {
                is_alone: setup.config_path.is_none(),
                debug: setup.debug,
            },
            reloads: Reloads::new(setup.config_path),
            exit: None,
        });
        if let Some(pid) = setup.reader {
            reactor.common.helpers.add(pid);
        }
        reactor.output.open(&mut reactor.common.context(now));
        Ok(reactor)
    }
}
