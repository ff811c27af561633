//! What people in the conversation do right now: who is typing, and whether the other is there.

use std::collections::BTreeMap;

use tidings_client::{Doing, PresenceState, Timestamp, UserId};

use super::super::presence::in_words;

/// How long somebody is shown as typing who does not say so again.
const TYPING_US: u64 = 6_000_000;
/// How long after a key the user counts as typing.
const PAUSE_US: u64 = 5_000_000;
/// How often it is said that the user is typing.
const SAID_EVERY_US: u64 = 4_000_000;

/// What is known of them.
#[derive(Debug, Default)]
pub struct People {
    /// Until when each is shown as typing.
    typing: BTreeMap<UserId, u64>,
    /// Whether the other is there, one to one.
    presence: Option<(PresenceState, Timestamp)>,
    /// The other is blocked.
    pub is_blocked: bool,
    /// When it was said last that the user is typing; `None`: it is not.
    said_us: Option<u64>,
    /// When the user pressed a key last.
    pressed_us: u64,
}

impl People {
    /// Somebody is typing, or not any more.
    pub fn does(&mut self, user: UserId, doing: Doing, now_us: u64) {
        match doing {
            Doing::NOTHING => drop(self.typing.remove(&user)),
            _ => drop(self.typing.insert(user, now_us + TYPING_US)),
        }
    }

    /// Somebody wrote: it is not typing any more.
    pub fn wrote(&mut self, user: UserId) {
        self.typing.remove(&user);
    }

    /// Whether the other is there.
    pub fn is(&mut self, state: PresenceState, last_seen: Timestamp) {
        self.presence = Some((state, last_seen));
    }

    /// The connection is gone: nothing is known any more.
    pub fn forget(&mut self) {
        *self = Self { is_blocked: self.is_blocked, ..Self::default() };
    }

    /// True if somebody is shown as typing who stopped without saying so. It is not shown any more then.
    pub fn take_stale(&mut self, now_us: u64) -> bool {
        let before = self.typing.len();
        self.typing.retain(|_, until| *until > now_us);
        self.typing.len() < before
    }

    /// What is shown of it, if anything is.
    pub fn in_words(&self, now_us: u64, name: impl Fn(UserId) -> Option<String>) -> Option<String> {
        let names: Vec<_> = self.typing.keys().map(|user| name(*user).unwrap_or_else(|| "somebody".into())).collect();
        match &names[..] {
            _ if self.is_blocked => Some("blocked: /unblock".into()),
            [] => self.presence.map(|(state, last_seen)| in_words(state, last_seen, Timestamp(now_us))),
            [one] => Some(format!("{one} is typing")),
            [one, other] => Some(format!("{one} and {other} are typing")),
            [one, more @ ..] => Some(format!("{one} and {} others are typing", more.len())),
        }
    }

    /// The user pressed a key.
    pub fn presses(&mut self, now_us: u64) {
        self.pressed_us = now_us;
    }

    /// What is to be said of the user, whose input is empty or not.
    pub fn take_own(&mut self, has_input: bool, now_us: u64) -> Option<Doing> {
        let types = has_input && now_us < self.pressed_us + PAUSE_US;
        match (types, self.said_us) {
            (true, Some(said)) if said + SAID_EVERY_US > now_us => None,
            (true, _) => {
                self.said_us = Some(now_us);
                Some(Doing::TYPING)
            }
            (false, said) => {
                self.said_us = None;
                said.map(|_| Doing::NOTHING)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId([1; 16]);
    const BEN: UserId = UserId([2; 16]);

    #[test]
    fn who_types_is_shown_until_it_writes_stops_or_is_not_heard_of() {
        let name = |user| (user == ANN).then(|| "ann".to_owned());
        let mut people = People::default();
        assert_eq!(people.in_words(0, name), None);
        people.is(PresenceState::Online, Timestamp(0));
        assert_eq!(people.in_words(0, name).as_deref(), Some("online"));
        people.does(ANN, Doing::TYPING, 0);
        assert_eq!(people.in_words(0, name).as_deref(), Some("ann is typing"));
        people.does(BEN, Doing::RECORDING, 1_000_000);
        assert_eq!(people.in_words(0, name).as_deref(), Some("ann and somebody are typing"));
        assert!(people.take_stale(TYPING_US) && !people.take_stale(TYPING_US));
        assert_eq!(people.in_words(0, name).as_deref(), Some("somebody is typing"));
        people.does(BEN, Doing::NOTHING, 2_000_000);
        people.does(ANN, Doing::TYPING, 2_000_000);
        people.wrote(ANN);
        assert_eq!(people.in_words(0, name).as_deref(), Some("online"));
    }

    #[test]
    fn what_the_user_does_is_said_now_and_then_and_its_end_once() {
        let mut people = People::default();
        assert_eq!(people.take_own(false, 0), None);
        people.presses(1);
        assert_eq!(people.take_own(true, 1), Some(Doing::TYPING));
        assert_eq!(people.take_own(true, SAID_EVERY_US), None);
        assert_eq!(people.take_own(true, 1 + SAID_EVERY_US), Some(Doing::TYPING));
        assert_eq!((people.take_own(false, 5), people.take_own(false, 6)), (Some(Doing::NOTHING), None));
        people.presses(7);
        assert_eq!(people.take_own(true, 8), Some(Doing::TYPING));
        assert_eq!(people.take_own(true, 7 + PAUSE_US), Some(Doing::NOTHING), "it thinks");
    }
}
