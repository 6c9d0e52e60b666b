//! What every part of the reactor may use beside what it owns: the context of one call.
//!
//! A part never sees the reactor. It reads the services' states from the supervisor and leaves events for it; the turn
//! hands these over when the call has returned, one at a time, and does what comes of each ([`super::Reactor::settle`]).

use std::collections::VecDeque;
use std::io;

use mio::{Poll, Registry};

use super::helpers::Helpers;
use super::tidiness::Tidiness;
use crate::base::{Moment, ServiceId};
use crate::domain::{Clock, Now};
use crate::supervisor::Supervisor;
use crate::supervisor::event::Event;

/// What a context is made of.
pub(super) struct Common {
    pub poll: Poll,
    /// The time of this turn.
    pub clock: Clock,
    pub supervisor: Supervisor,
    /// What the supervisor has not been handed yet: empty between two calls of parts.
    pub events: VecDeque<Event>,
    /// For standard error, until the end of the turn.
    pub messages: Vec<String>,
    pub helpers: Helpers,
    pub tidiness: Tidiness,
}

/// What a part is given for one call.
pub(super) struct Context<'a> {
    pub registry: &'a Registry,
    /// To be read only: what changes it goes through [`Context::tell`].
    pub supervisor: &'a Supervisor,
    /// The moment of this turn.
    pub now: Moment,
    /// The same with the time of day.
    pub time: Now,
    pub events: &'a mut VecDeque<Event>,
    pub messages: &'a mut Vec<String>,
    pub helpers: &'a mut Helpers,
    pub tidiness: &'a mut Tidiness,
}

impl Common {
    /// # Errors
    /// When the kernel grants no epoll descriptor.
    pub fn new(supervisor: Supervisor, clock: Clock, messages: Vec<String>) -> io::Result<Common> {
        Ok(Common {
            poll: Poll::new()?,
            clock,
            supervisor,
            events: VecDeque::new(),
            messages,
            helpers: Helpers::default(),
            tidiness: Tidiness::new(),
        })
    }

    /// For a call at this moment.
    pub fn context(&mut self, now: Moment) -> Context<'_> {
        Context {
            registry: self.poll.registry(),
            supervisor: &self.supervisor,
            now,
            time: self.clock.now(),
            events: &mut self.events,
            messages: &mut self.messages,
            helpers: &mut self.helpers,
            tidiness: &mut self.tidiness,
        }
    }
}

impl Context<'_> {
    /// Leaves an event for the supervisor.
    pub fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Leaves a line for standard error.
    pub fn message(&mut self, text: String) {
        self.messages.push(text);
    }

    /// The same at another moment, for what waits within a turn.
    pub fn at(&mut self, now: Moment) -> Context<'_> {
        Context {
            registry: self.registry,
            supervisor: self.supervisor,
            now,
            time: self.time,
            events: self.events,
            messages: self.messages,
            helpers: self.helpers,
            tidiness: self.tidiness,
        }
    }

    /// A service's name, for a message.
    pub fn name_of(&self, service: ServiceId) -> String {
        name_of(self.supervisor, service)
    }
}

/// A service's name, for a message.
pub(super) fn name_of(supervisor: &Supervisor, service: ServiceId) -> String {
    supervisor.config(service).map_or_else(
        || "a service that was removed".to_owned(),
        |config| config.name.clone(),
    )
}
