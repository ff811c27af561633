//! Groups: who makes them, and what becomes of them. Everybody tries everything, with right or without.

use tidings_client::{
    ConversationId, ErrorCode, GroupAct, GroupSettings, HistoryFrom, LinkBody, MessageFlags, Role, RoleBody, Session,
    UserId, Users,
};

use tidings_wire::frames::group::digest_of_link;

use super::{
    World,
    devices::{Whom, user_id},
    users::tag,
};
use crate::{oracle::payload, random::MILLION, trace::Moment};

/// What may be refused in a group, by the server's reasons: whether each refusal is right is for tests of the engine to say.
pub(super) const GROUP_REFUSALS: &[ErrorCode] = &[
    ErrorCode::NotMember,
    ErrorCode::NotAllowed,
    ErrorCode::Gone,
    ErrorCode::LastOwner,
    ErrorCode::NoSuchMember,
    ErrorCode::AlreadyMember,
    ErrorCode::BodyInvalid,
];

/// A group that somebody makes.
#[derive(Clone, Debug)]
pub(super) struct Foundation {
    creator: usize,
    nonce: [u8; 16],
    settings: GroupSettings,
    members: Vec<[u8; 16]>,
    /// The tag of the message that makes it, whichever device sends it.
    tag: Option<u64>,
}

impl World {
    /// Groups that will be made; everybody knows of each.
    pub(super) fn add_groups(&mut self, chats: &mut [Vec<(usize, Whom)>]) {
        let users = self.plan.users;
        for number in 0..self.plan.groups {
            let creator = self.random.below(users as u64) as usize;
            let nonce = [number as u8; 16];
            let id = ConversationId::group(user_id(creator), &nonce);
            let others: Vec<_> = (0..users).filter(|user| *user != creator).collect();
            let count = self.random.between(1, others.len() as u64) as usize;
            let members = others[..count].iter().map(|user| user_id(*user).0).collect();
            let settings = self.settings();
            self.groups.push(Foundation { creator, nonce, settings, members, tag: None });
            let at = self.oracle.add(id, (0..self.plan.people()).map(user_id).collect());
            chats.iter_mut().for_each(|chats| chats.push((at, Whom::Group(number))));
        }
    }

    /// True of the message that makes a group.
    pub(super) fn makes_group(&self, tag: u64) -> bool {
        self.groups.iter().any(|group| group.tag == Some(tag))
    }

    fn settings(&mut self) -> GroupSettings {
        let roles = [Role::Member, Role::Member, Role::Admin];
        GroupSettings {
            write: *self.random.pick(&roles),
            add: *self.random.pick(&roles),
            edit: *self.random.pick(&roles),
            history: *self.random.pick(&[HistoryFrom::Beginning, HistoryFrom::Joining]),
        }
    }

    /// The user of a device does something to a group, or tries.
    pub(super) fn change_group(&mut self, at: usize, place: usize, whom: Whom) {
        let Whom::Group(number) = whom else { return };
        let foundation = self.groups[number].clone();
        let made = self.oracle.head(place).0 > 0;
        if foundation.creator == self.devices[at].user && (!made || self.random.chance(MILLION / 8)) {
            return self.make_group(at, place, number, &foundation);
        }
        let chosen = self.some_users();
        let act = self.draw_act(self.oracle.id(place), &chosen);
        let tag = tag(self.id(), at);
        self.oracle.put(tag, place, PAYLOAD);
        self.act_in_group(at, place, tag, |session, group, payload| session.act(group, &act, payload));
    }

    /// One or two who may be in a group.
    pub(super) fn some_users(&mut self) -> Vec<[u8; 16]> {
        let users = self.plan.people() as u64;
        let count = self.random.between(1, 2);
        let mut chosen: Vec<[u8; 16]> = (0..count).map(|_| user_id(self.random.below(users) as usize).0).collect();
        chosen.sort_unstable();
        chosen
    }

    /// Something that may be done to a group that is there, with these users if with any.
    pub(super) fn draw_act<'u>(&mut self, group: ConversationId, chosen: &'u [[u8; 16]]) -> GroupAct<'u> {
        let role = *self.random.pick(&[Role::Member, Role::Admin, Role::Admin, Role::Owner]);
        let settings = self.settings();
        let secret = [self.random.below(2) as u8; 16];
        let linked = LinkBody { digest: *self.random.pick(&[[0; 16], digest_of_link(group, &secret)]) };
        match self.random.below(110) {
            100..103 => GroupAct::Link(linked),
            103..110 => GroupAct::Join { secret: Some(secret) },
            0..40 => GroupAct::Add(Users::new(chosen)),
            40..60 => GroupAct::Remove(Users::new(chosen)),
            60..70 => GroupAct::Leave,
            70..85 => GroupAct::Role(RoleBody { member: UserId(chosen[0]), role }),
            85..98 => GroupAct::Settings { settings, title: b"a title" },
            _ => GroupAct::Delete,
        }
    }

    fn make_group(&mut self, at: usize, place: usize, number: usize, foundation: &Foundation) {
        let Foundation { nonce, settings, members, .. } = foundation;
        let tag = match foundation.tag {
            Some(tag) => tag,
            None => {
                let tag = tag(self.id(), at);
                self.oracle.put(tag, place, PAYLOAD);
                self.groups[number].tag = Some(tag);
                tag
            }
        };
        let (nonce, settings, title, members) = (*nonce, *settings, &b"a title"[..], Users::new(members));
        let act = GroupAct::Create { nonce, settings, title, members };
        self.act_in_group(at, place, tag, |session, group, payload| session.act(group, &act, payload));
    }

    fn act_in_group(
        &mut self,
        at: usize,
        place: usize,
        tag: u64,
        act: impl FnOnce(&mut Session, ConversationId, &[u8]) -> tidings_client::ClientMsgId,
    ) {
        self.tell(Moment::Put(at, place, tag));
        let group = self.oracle.id(place);
        let device = &mut self.devices[at];
        let id = act(device.session.as_mut().expect("it is in hand"), group, &payload(tag, PAYLOAD));
        device.waiting += 1;
        self.attempted(at, (place, id), tag, MessageFlags::CONTROL);
    }
}

/// Bytes that an act says to people.
const PAYLOAD: usize = 16;
