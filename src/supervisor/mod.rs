//! THE state machine: events and the time in, actions and the next deadline out.

pub mod event;
