//! Clients that come, ask and vanish. Each has one open request at most, as the shell sees to it.

use go_overlay::base::ClientId;
use go_overlay::domain::WaitFor;
use go_overlay::supervisor::client::{Request, Selection};
use go_overlay::supervisor::event::Event;

use crate::model::Model;
use crate::rng::Rng;

#[derive(Default)]
pub struct Clients {
    next: u64,
}

impl Clients {
    pub fn newcomer(&mut self) -> ClientId {
        self.next += 1;
        ClientId(self.next)
    }

    /// Somebody asks for something.
    pub fn ask(&mut self, rng: &mut Rng, model: &Model) -> Event {
        let client = self.newcomer();
        let request = random_request(rng, model);
        Event::Request { client, request }
    }

    /// Somebody goes without having been answered.
    pub fn vanish(&self, rng: &mut Rng, model: &Model) -> Option<Event> {
        let waiting: Vec<ClientId> = model.requests.keys().copied().collect();
        (!waiting.is_empty()).then(|| Event::ClientGone {
            client: *rng.pick(&waiting),
        })
    }
}

fn random_name(rng: &mut Rng, model: &Model) -> String {
    match rng.chance(30) || model.file.is_empty() {
        true => "nobody".into(),
        false => rng.pick(&model.file).clone(),
    }
}

fn selection(rng: &mut Rng, model: &Model) -> Selection {
    let all = rng.chance(150);
    let names = match all && !rng.chance(50) {
        true => 0,
        false => rng.below(4),
    };
    Selection {
        services: (0..names).map(|_| random_name(rng, model)).collect(),
        all,
        with_dependents: rng.chance(400),
        no_wait: rng.chance(200),
        timeout_ms: rng.chance(300).then(|| rng.from(0, 5000)),
    }
}

fn random_request(rng: &mut Rng, model: &Model) -> Request {
    match rng.below(12) {
        0..3 => Request::Start(selection(rng, model)),
        3..6 => Request::Stop(selection(rng, model)),
        6..9 => Request::Restart(selection(rng, model)),
        9 => Request::Signal {
            service: random_name(rng, model),
            signal: (*rng.pick(&["USR1", "KILL", "TERM", "HUP", "nonsense"])).into(),
        },
        _ => Request::Wait {
            service: random_name(rng, model),
            until: *rng.pick(&[
                WaitFor::Running,
                WaitFor::Healthy,
                WaitFor::Stopped,
                WaitFor::Completed,
            ]),
            timeout_ms: rng.chance(300).then(|| rng.from(0, 5000)),
        },
    }
}

/// What is asked for when everything is to come up.
pub fn start_of(names: Vec<String>) -> Request {
    Request::Start(Selection {
        services: names,
        ..Selection::default()
    })
}
