//! The control socket's protocol: one JSON object a line each way (`docs/PROTOCOL.md`).

use crate::api::stream::Codec;
use crate::api::{journal, protocol};
use crate::base::ServiceId;
use crate::control::frame;
use crate::control::message::Response;
use crate::output::feed;
use crate::output::format::{Origin, Stamp};
use crate::output::json;

/// What one connection's lines need from one to the next.
#[derive(Debug, Default)]
pub struct JsonLine {
    /// What is before the text of a line: the same for all lines of one read.
    head: Vec<u8>,
    /// The read that it was made for.
    made_for: Option<(ServiceId, Stamp, Origin)>,
}

impl Codec for JsonLine {
    fn line(&mut self, item: feed::Item<'_>, out: &mut Vec<u8>) {
        match item {
            feed::Item::Line(line) => {
                let (stamp, origin) = (line.stamp(), line.origin);
                let made_for = Some((line.service, stamp, origin));
                if self.made_for != made_for {
                    self.made_for = made_for;
                    self.head.clear();
                    json::head(&mut self.head, stamp, line.name, origin);
                }
                json::line(out, &self.head, line.piece);
            }
            feed::Item::Missing { name, lines, stamp } => json::missing(out, stamp, name, lines),
        }
    }

    fn event(&mut self, item: journal::Item<'_>, out: &mut Vec<u8>) {
        out.extend(frame::encode(&protocol::event(item)));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend(frame::encode(&Response::End {}));
        *self = JsonLine::default();
    }
}
