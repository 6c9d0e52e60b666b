//! New connections, and which client loses its place for one.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::Interest;
use mio::net::UnixStream;

use super::super::admission::{Admission, Holder as Place, MAX_CLIENTS, admit};
use super::super::context::Context;
use super::super::token::Source;
use super::{Connection, Connections};
use crate::api::access::{Access, Caller};
use crate::base::ClientId;
use crate::control::message::{ErrorCode, Response};
use crate::supervisor::event::Event;
use crate::sys::limits::{self, Holder};
use crate::sys::released::ClosedPromptly;
use crate::sys::socket;
use crate::wire::json_line::encode;

/// New connections taken a turn.
const ACCEPTS_A_TURN: usize = 64;

/// A connection that could not be taken, for want of a descriptor, is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What came of taking new connections.
#[derive(Debug)]
pub(in crate::reactor) enum Accepted {
    /// All that waited.
    All,
    /// As many as one turn takes.
    Some,
    /// The kernel refused one.
    Failed(io::Error),
}

impl Connections {
    /// Whether more connections wait than one turn took.
    pub fn has_more_to_accept(&self) -> bool {
        self.accept_again
    }

    /// Takes new connections in.
    pub fn accept(&mut self, cx: &mut Context<'_>) -> Accepted {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(accepted) = self.listener.as_ref().map(socket::accept) else {
                return Accepted::Some;
            };
            match accepted {
                Ok(stream) => self.take_in(UnixStream::from_std(stream), cx),
                Err(error) => {
                    self.accept_again = false;
                    // The kernel tells of those who wait only once: without a descriptor for them now, they are
                    // looked for again.
                    let none_waits = error.kind() == io::ErrorKind::WouldBlock;
                    self.accept_at = (!none_waits).then(|| cx.now.after(ACCEPT_RETRY));
                    return match none_waits {
                        true => Accepted::All,
                        false => Accepted::Failed(error),
                    };
                }
            }
        }
        // The kernel tells of the listener once: what this turn left is the next one's.
        self.accept_again = true;
        Accepted::Some
    }

    /// Takes a new connection in, if there is a place for it. A client may lose its place for it.
    fn take_in(&mut self, mut stream: UnixStream, cx: &mut Context<'_>) {
        let Ok(peer) = socket::peer(stream.as_fd()) else {
            return;
        };
        let is_trusted = socket::may_change(peer);
        let few_descriptors = limits::is_kept_free(stream.as_raw_fd(), Holder::Client);
        match admit(&self.places(), (peer.uid, is_trusted), few_descriptors) {
            Admission::Free => {}
            Admission::Instead(id) => self.evict(id, cx),
            Admission::Refused => {
                // The socket's buffer takes one short line; whether it is read is the client's affair.
                let _ = stream.write(&encode(&too_many()));
                drop(ClosedPromptly::new(stream));
                return;
            }
        }
        if few_descriptors {
            stream = with_low_number(stream);
        }
        let token = Source::Client(self.table.next_slot()).token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if cx.registry.register(&mut stream, token, interest).is_err() {
            return;
        }
        let id = ClientId(self.next_id);
        self.next_id += 1;
        let caller = Caller::Peer {
            uid: peer.uid,
            is_trusted,
        };
        let connection = Connection::new(id, stream, caller, cx.now);
        let place = self.table.insert(connection);
        self.by_id.insert(id, place);
    }

    fn places(&self) -> Vec<Place> {
        let place = |client: &Connection| {
            let Caller::Peer { uid, .. } = client.caller;
            Place {
                id: client.id,
                uid,
                trusted: client.caller.may(Access::Change),
                waiting: client.is_waiting(),
                idle_since: client.idle_since(),
            }
        };
        self.table.values().map(place).collect()
    }

    /// Takes a client's place, with a word unless it is in the middle of its answer.
    fn evict(&mut self, id: ClientId, cx: &mut Context<'_>) {
        if let Some(connection) = self.get_mut(id) {
            connection.take_leave(&too_many());
        }
        self.close(id, cx.registry);
        cx.tell(Event::ClientGone { client: id });
    }
}

/// The same connection under the lowest number that is free, which the evicted has just left: so the last numbers
/// stay free.
fn with_low_number(stream: UnixStream) -> UnixStream {
    let stream = std::os::unix::net::UnixStream::from(stream);
    let low = stream.try_clone();
    UnixStream::from_std(low.unwrap_or(stream))
}

fn too_many() -> Response {
    Response::Error {
        code: ErrorCode::TooManyClients,
        message: format!(
            "more clients are connected than {MAX_CLIENTS}, a user's share or the limit of open files allow"
        ),
        hint: Some("close idle connections".into()),
    }
}
