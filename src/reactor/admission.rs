//! Which connections the daemon keeps when there are more than it has places for. Decides only.
//!
//! Root and the daemon's own user always get in. Any other user is a stranger: strangers have a bound each
//! and one together, and lose their places first.

use crate::base::{ClientId, Moment};

/// Connections at once, of all users.
pub(super) const MAX_CLIENTS: usize = 512;

/// Of all strangers together.
const MAX_STRANGERS: usize = 256;

/// Of one strange user.
const MAX_OF_A_STRANGER: usize = 64;

/// A connection, as far as its place is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub id: ClientId,
    pub uid: u32,
    /// Root, or the daemon's own user.
    pub trusted: bool,
    /// Its request is not answered yet, or its answer goes on.
    pub waiting: bool,
    pub idle_since: Moment,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is a place.
    Free,
    /// It gets the place of this one.
    Instead(ClientId),
    /// There is none.
    Refused,
}

/// Decides about a connection of user `uid`. `few_descriptors`: there is no place left, however few hold one.
pub(super) fn admit(
    holders: &[Holder],
    (uid, trusted): (u32, bool),
    few_descriptors: bool,
) -> Admission {
    let full = few_descriptors || holders.len() >= MAX_CLIENTS;
    if trusted {
        return match full {
            true => instead(holders.iter()),
            false => Admission::Free,
        };
    }
    let strangers = || holders.iter().filter(|holder| !holder.trusted);
    let own = || strangers().filter(|holder| holder.uid == uid);
    let idle = |holder: &&Holder| !holder.waiting;
    if own().count() >= MAX_OF_A_STRANGER {
        return instead(own().filter(idle));
    }
    if full || strangers().count() >= MAX_STRANGERS {
        return instead(strangers().filter(idle));
    }
    Admission::Free
}

/// Strangers lose their places before trusted users, idle connections before those that wait, and then the
/// one that has done nothing for longest.
fn instead<'h>(holders: impl Iterator<Item = &'h Holder>) -> Admission {
    let order = |holder: &&Holder| (holder.trusted, holder.waiting, holder.idle_since, holder.id);
    let first = holders.min_by_key(order);
    first.map_or(Admission::Refused, |holder| Admission::Instead(holder.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: (u32, bool) = (0, true);
    const OWN: (u32, bool) = (1000, true);

    fn stranger(uid: u32) -> (u32, bool) {
        (uid, false)
    }

    fn holders(count: usize, (uid, trusted): (u32, bool), waiting: bool) -> Vec<Holder> {
        let holder = |number: usize| Holder {
            id: ClientId(number as u64),
            uid,
            trusted,
            waiting,
            idle_since: Moment(number as u64),
        };
        (0..count).map(holder).collect()
    }

    /// Lets `count` waiting connections of a user come; those that get in.
    fn flood(mut held: Vec<Holder>, count: usize, user: (u32, bool)) -> Vec<Holder> {
        for number in 0..count {
            match admit(&held, user, false) {
                Admission::Free => {}
                Admission::Instead(id) => held.retain(|holder| holder.id != id),
                Admission::Refused => continue,
            }
            let mut newcomer = holders(1, user, true)[0];
            newcomer.id = ClientId((1 << 32) + u64::from(user.0) * 10_000 + number as u64);
            held.push(newcomer);
        }
        held
    }

    #[test]
    fn a_stranger_has_a_bound_and_strangers_have_one_together() {
        let one = flood(Vec::new(), 1000, stranger(20_001));
        assert_eq!(one.len(), MAX_OF_A_STRANGER);
        let many = (20_002..20_050).fold(one, |held, uid| flood(held, 100, stranger(uid)));
        assert_eq!(many.len(), MAX_STRANGERS);
    }

    #[test]
    fn strangers_never_displace_root_or_the_daemons_user() {
        let held = holders(MAX_CLIENTS, OWN, false);
        assert_eq!(admit(&held, stranger(20_001), false), Admission::Refused);
        assert_eq!(admit(&held, stranger(20_001), true), Admission::Refused);
    }

    #[test]
    fn root_and_the_daemons_user_always_get_in_and_strangers_go_first() {
        let mut held = holders(MAX_CLIENTS - 1, OWN, false);
        let mut last = holders(1, stranger(20_001), true)[0];
        last.id = ClientId(7777);
        last.idle_since = Moment(u64::MAX);
        held.push(last);
        for user in [ROOT, OWN] {
            assert_eq!(
                admit(&held, user, false),
                Admission::Instead(ClientId(7777))
            );
        }
        // Even where every place waits for an answer.
        let busy = holders(MAX_CLIENTS, OWN, true);
        assert_eq!(admit(&busy, ROOT, false), Admission::Instead(ClientId(0)));
        assert_eq!(admit(&[], ROOT, true), Admission::Refused);
    }

    #[test]
    fn one_that_waits_goes_after_one_that_is_idle() {
        let mut held = holders(MAX_CLIENTS, OWN, true);
        held[300].waiting = false;
        assert_eq!(admit(&held, ROOT, false), Admission::Instead(ClientId(300)));
        let mut own = holders(MAX_OF_A_STRANGER, stranger(20_001), true);
        assert_eq!(admit(&own, stranger(20_001), false), Admission::Refused);
        assert_eq!(admit(&own, stranger(20_002), false), Admission::Free);
        own[9].waiting = false;
        let instead = Admission::Instead(ClientId(9));
        assert_eq!(admit(&own, stranger(20_001), false), instead);
    }
}
