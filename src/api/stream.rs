//! Answers that go on: a subscription yields lines of output or events as items, and a codec makes bytes of them.

use super::journal::{self, Journal};
use crate::base::ServiceId;
use crate::output::feed::{self, Feed};
use crate::output::recent::Recent;

/// Steps taken for a client a turn, whether they hold what it wants or not: parts of records.
const STEPS_A_TURN: usize = 256;

/// From items to the bytes of a transport.
pub trait Codec {
    /// Adds a line of output.
    fn line(&mut self, item: feed::Item<'_>, out: &mut Vec<u8>);

    /// Adds an event.
    fn event(&mut self, item: journal::Item<'_>, out: &mut Vec<u8>);

    /// Adds what ends the answer.
    fn end(&mut self, out: &mut Vec<u8>);
}

/// Where a subscription reads.
pub trait History {
    /// A service's remembered output; None when it is gone.
    fn recent(&self, service: ServiceId) -> Option<&Recent>;

    /// What has happened.
    fn journal(&self) -> &Journal;

    /// Nanoseconds since 1970.
    fn wall(&self) -> u64;
}

/// What a client reads that goes on.
#[derive(Debug)]
pub enum Subscription {
    /// The services' output.
    Logs(Feed),
    /// What has happened.
    Events(journal::Reader),
}

/// How far a subscription got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to read at once.
    More,
    /// That was all there is for now.
    UpToDate,
    /// The answer is over, and its end was added.
    Over,
}

impl Subscription {
    /// Adds the next items to `out`, until that holds `room` bytes; the last step may go beyond it.
    pub fn read(
        &mut self,
        history: &impl History,
        codec: &mut impl Codec,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Progress {
        let progress = match self {
            Subscription::Logs(feed) => read_logs(feed, history, codec, room, out),
            Subscription::Events(reader) => {
                let wall = || history.wall();
                match history.journal().read(reader, wall, codec, room, out) {
                    true => Progress::UpToDate,
                    false => Progress::Over,
                }
            }
        };
        if progress == Progress::Over {
            codec.end(out);
        }
        progress
    }

    /// Nothing comes any more: the answer ends with what there is.
    pub fn stop_following(&mut self) {
        match self {
            Subscription::Logs(feed) => feed.follow = false,
            Subscription::Events(reader) => reader.follow = false,
        }
    }
}

fn read_logs(
    feed: &mut Feed,
    history: &impl History,
    codec: &mut impl Codec,
    room: usize,
    out: &mut Vec<u8>,
) -> Progress {
    for _ in 0..STEPS_A_TURN {
        if out.len() >= room {
            break;
        }
        let recent = |id| history.recent(id);
        if !feed.read(recent, |item, out| codec.line(item, out), out) {
            return match !feed.follow || feed.is_empty() {
                true => Progress::Over,
                false => Progress::UpToDate,
            };
        }
    }
    Progress::More
}
