//! The table is what the documentation says, and holds for each verb.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::api::access::Caller;
use crate::api::journal::Journal;
use crate::api::stream::History;
use crate::api::views::Observed;
use crate::base::{Moment, Pid};
use crate::config::model::Config;
use crate::control::message::ErrorCode;
use crate::domain::Now;
use crate::output::recent::Recent;
use crate::supervisor::Supervisor;
use crate::wire::json_line::parse_request;
use std::path::Path;

const ROOT: Caller = Caller::Peer {
    uid: 0,
    is_trusted: true,
};
const STRANGER: Caller = Caller::Peer {
    uid: 1000,
    is_trusted: false,
};

/// Of services nothing is known but their states.
#[derive(Default)]
struct Nothing(Journal);

impl History for Nothing {
    fn recent(&self, _: ServiceId) -> Option<&Recent> {
        None
    }

    fn journal(&self) -> &Journal {
        &self.0
    }

    fn wall(&self) -> u64 {
        0
    }
}

impl Observed for Nothing {
    fn usages(&mut self, _: &[Pid], now: Moment) -> (Moment, &[Option<Usage>]) {
        (now, &[])
    }

    fn usage(&self, _: Pid) -> Option<Usage> {
        None
    }

    fn hanging(&self) -> Vec<(ServiceId, &Path)> {
        Vec::new()
    }

    fn dropped_lines(&self, _: ServiceId) -> u64 {
        0
    }

    fn count_lost_lines(&mut self) {}

    fn own_pid(&self) -> i32 {
        7
    }
}

fn dispatched(line: &str, caller: Caller) -> Result<Step, Response> {
    let request = parse_request(line.as_bytes()).expect("a request");
    let views = Views {
        caller,
        now: Now::default(),
        supervisor: &Supervisor::new(Config::default(), None, Now::default()),
        config_path: None,
        observed: &mut Nothing::default(),
    };
    dispatch(request, views)
}

/// A request of each verb.
fn request_of(verb: &Verb) -> String {
    let fields = match verb.name {
        "signal" => r#","service":"web","signal":"HUP""#,
        "wait" => r#","service":"web","for":"running""#,
        _ => "",
    };
    format!(r#"{{"command":"{}"{fields}}}"#, verb.name)
}

#[test]
fn each_verb_comes_to_what_its_row_says() {
    for verb in VERBS {
        let step = dispatched(&request_of(verb), ROOT).expect(verb.name);
        let effect = match step {
            Step::Reads(_) => Effect::Reads,
            Step::Waits(_) => Effect::Waits,
            Step::Changes(_) => Effect::Changes,
            Step::Streams(_) => Effect::Streams,
        };
        assert_eq!(effect, verb.effect, "{}", verb.name);
    }
}

#[test]
fn a_stranger_may_do_what_demands_nothing() {
    for verb in VERBS {
        match dispatched(&request_of(verb), STRANGER) {
            Ok(_) => assert_eq!(verb.access, Access::Anyone, "{}", verb.name),
            Err(Response::Error { code, message, .. }) => {
                assert_eq!(code, ErrorCode::NotAllowed, "{message}");
                assert_ne!(verb.access, Access::Anyone, "{}", verb.name);
                assert!(message.contains("user 1000"), "{message}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    // What changes something never goes without the right to it.
    let changes = |verb: &&Verb| verb.effect == Effect::Changes;
    assert!(
        VERBS
            .iter()
            .filter(changes)
            .all(|verb| verb.access == Access::Change)
    );
}

#[test]
fn the_documentation_lists_each_verb_with_its_access() {
    let protocol = include_str!("../../../docs/PROTOCOL.md");
    let row = |part: &str| {
        let row = protocol.lines().find(|line| line.contains(part));
        row.expect("a row of the table under \"Access\"")
    };
    let (anyone, trusted) = (
        row("| every client that can connect |"),
        row("| root and the daemon's own user;"),
    );
    for verb in VERBS {
        let name = format!("`{}`", verb.name);
        let is_open = verb.access == Access::Anyone;
        assert_eq!(anyone.contains(&name), is_open, "{name}");
        assert_eq!(trusted.contains(&name), !is_open, "{name}");
        let heading = protocol.lines().any(|line| {
            line.strip_prefix("### ")
                .is_some_and(|verbs| verbs.split(", ").any(|other| other == verb.name))
        });
        assert!(heading, "{name} has no section in docs/PROTOCOL.md");
    }
}
