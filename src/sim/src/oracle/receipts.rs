//! How far users are, and how far others are shown them to be: never ahead of what is so, never back, and in the end all of it.

use tidings_client::{Seq, UserId, Watermarks};

use super::{Conversation, DeviceAt, Given, Oracle, presence::Privacy};

impl Oracle {
    /// A user read.
    pub fn read(&mut self, user: UserId, at: usize, upto: Seq) {
        let openly = self.privacy(user) != Privacy::Private;
        if let Some(member) = self.member(at, user) {
            let conversation = &mut self.conversations[at];
            let fact = &mut conversation.facts[member];
            fact.read = fact.read.max(upto);
            fact.delivered = fact.delivered.max(upto);
            if openly {
                conversation.read_openly[member] = conversation.read_openly[member].max(upto);
            }
        }
    }

    pub(super) fn privacy(&self, user: UserId) -> Privacy {
        self.privacy.get(&user).copied().unwrap_or_default()
    }

    /// A device was shown how far both members are.
    pub fn shown(&mut self, device: DeviceAt, user: UserId, given: &mut Given, at: usize, marks: [Watermarks; 2]) {
        let Some(member) = self.member(at, user) else {
            return self.violate("I9", format!("device {device} is shown conversation {at}, which it is not in"));
        };
        let [peers, own] = marks;
        let facts = &self.conversations[at].facts;
        // In a group nobody is told how far the others are.
        let peer_fact = if facts.len() == 2 && !self.conversations[at].id.is_group() {
            self.fact(at, 1 - member)
        } else {
            Watermarks::default()
        };
        let own_fact = facts[member];
        let ahead = |shown: Watermarks, fact: Watermarks| shown.delivered > fact.delivered || shown.read > fact.read;
        self.check(!ahead(peers, peer_fact) && own.read <= own_fact.read, "I8", || {
            format!("device {device} is shown {peers:?} and {own:?} in conversation {at}; true is {peer_fact:?} and {own_fact:?}")
        });
        self.check_frozen(device, (at, member), peers);
        let before = given.shown.insert(at, peers).unwrap_or_default();
        self.check(!ahead(before, peers), "I8", || {
            format!("device {device} is shown {peers:?} in conversation {at} after {before:?}")
        });
    }

    /// A device was shown how far another member of a group is.
    pub fn member_shown(&mut self, device: DeviceAt, user: UserId, at: usize, (member, marks): (UserId, Watermarks)) {
        let places = (self.member(at, user), self.member(at, member));
        let (Some(_), Some(place)) = places else {
            return self.violate("I9", format!("device {device} is shown {member} in conversation {at}"));
        };
        let fact = self.fact(at, place);
        self.check(marks.delivered <= fact.delivered && marks.read <= fact.read, "I8", || {
            format!("device {device} is shown {marks:?} of {member} in conversation {at}; true is {fact:?}")
        });
    }

    /// How far a member is, as far as others may know.
    fn fact(&self, at: usize, member: usize) -> Watermarks {
        let Conversation { id, members, facts, read_openly, .. } = &self.conversations[at];
        let user = members[member];
        if self.durable.hostile == Some(user) {
            return Watermarks { read: self.durable.shown(*id, user), ..self.durable.marks(*id, user) };
        }
        Watermarks { read: read_openly[member], ..facts[member] }
    }

    /// A conversation of which a device was not shown how far the other member is: as far as the log says, and where nothing is ever dropped as
    /// far as it was given what this user wrote. Its place, what the device was shown, and what it must be shown.
    pub fn unshown(&self, user: UserId, given: &Given) -> Option<(usize, Watermarks, Watermarks)> {
        let direct = (0..self.conversations.len()).filter(|at| !self.conversations[*at].id.is_group());
        let mut mine = direct.filter_map(|at| Some((at, self.member(at, user)?)));
        mine.find_map(|(at, member)| {
            let conversation = &self.conversations[at];
            let peer = 1 - member;
            let shown = given.shown.get(&at).copied().unwrap_or_default();
            let logged = self.durable.marks(conversation.id, conversation.members[peer]);
            let heard = if self.may_lose { Seq(0) } else { conversation.heard[peer] };
            // Who shows nobody what it reads is not shown what others read.
            let read = match self.privacy(user) {
                Privacy::Open => self.durable.shown(conversation.id, conversation.members[peer]),
                _ => Seq(0),
            };
            let due = match self.durable.blocks.shown(conversation.id, conversation.members[peer]) {
                Some((delivered, shown)) => Watermarks { delivered, read: read.min(shown), ordinal: 0 },
                None => Watermarks { delivered: logged.delivered.max(heard), read, ordinal: 0 },
            };
            (shown.delivered < due.delivered || shown.read < due.read).then_some((at, shown, due))
        })
    }
}
