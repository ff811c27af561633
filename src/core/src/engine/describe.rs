//! DESCRIBE: what a conversation is, and who is in it.

use alloc::vec::Vec;

use tidings_wire::{
    ErrorCode, Kind, Seq, UserId,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Describe, Described, DescribedMember, GroupSettings},
    limits::DESCRIBED_MAX,
};

use super::{Conversation, ConversationKey, Conversations, dispatch::refuse_other};
use crate::{
    context::{Asking, ConversationContext},
    conversation::{members::Member, state::Size, view::View},
    effects::ReactorId,
    features::{Group, timer},
    lanes::{Asker, Privacy, Shown, ToHome},
    narrow::to_u32,
};

impl Conversations {
    pub(super) fn on_describe(
        &mut self,
        (from, asker): (ReactorId, Asker),
        (user, privacy): (UserId, Privacy),
        describe: &Describe,
        cx: &mut impl ConversationContext,
    ) {
        let id = describe.conversation;
        let known = self.known_to(id, user).filter(|key| self.may_know(*key, user));
        let Some(key) = known else {
            return refuse_other(from, asker, id, ErrorCode::NotMember, Kind::Describe, cx);
        };
        let readers = self.readers(key, describe.counted);
        let mut frame = Vec::new();
        self.write_description(key, (user, privacy), (asker, describe), readers, &mut frame);
        match cx.asking(from, asker, frame.len()) {
            Asking::Takes => cx.to_home(from, ToHome::Answer { asker }, &frame),
            Asking::Full => refuse_other(from, asker, id, ErrorCode::Busy, Kind::Describe, cx),
            Asking::Gone => {}
        }
    }

    /// True of members, and of those who were members when the group was deleted: nothing has changed since. Whoever left before would learn
    /// what came later.
    fn may_know(&self, key: ConversationKey, user: UserId) -> bool {
        let state = &self.get(key).state;
        let Some(Member { membership, .. }) = state.member(user).map(|at| &state.members[at]) else { return false };
        let deleted = Group::in_view(&View { state, overlay: None }).map_or(Seq(0), |group| group.deleted());
        membership.is_current() || membership.was_ever() && deleted > Seq(0) && membership.stay.last == deleted
    }

    /// What is committed.
    fn write_description(
        &self,
        key: ConversationKey,
        (user, privacy): (UserId, Privacy),
        (asker, describe): (Asker, &Describe),
        readers: Option<u32>,
        out: &mut Vec<u8>,
    ) {
        let Conversation { id, state, .. } = self.get(key);
        let group = Group::in_view(&View { state, overlay: None });
        let most = if describe.limit == 0 { DESCRIBED_MAX } else { describe.limit.min(DESCRIBED_MAX) };
        let mut frame = FrameBuilder::<Described>::new(out);
        let title = frame.var(group.map_or(&[], |group| group.title));
        let mut entries = frame.var(&[]);
        let mut count = 0;
        let members = state.members.iter().enumerate().skip(describe.from as usize).take(most as usize);
        for (at, member) in members {
            let mut bytes = [0; DescribedMember::LEN];
            archive::write(&described(member, state.shown(at), (user, privacy)), &mut bytes);
            entries.len += frame.var(&bytes).len;
            count += 1;
        }
        frame.finish(
            asker.request_id,
            &Described {
                conversation: *id,
                head: state.head,
                settings: group.map_or(GroupSettings::default(), |group| group.settings()),
                deleted: group.map_or(Seq(0), |group| group.deleted()),
                members: to_u32(state.members.len()),
                from: describe.from,
                count,
                entry_len: to_u32(DescribedMember::LEN),
                title,
                entries,
                has_link: group.is_some_and(|group| group.has_link()),
                is_large: state.size == Size::Large,
                current: to_u32(state.members.current()),
                timer: timer::of(&View { state, overlay: None }).seconds,
                readers: readers.filter(|_| privacy == Privacy::Shown).unwrap_or(Described::NOT_COUNTED),
            },
        );
    }
}

/// A member, as it is described to a user.
fn described(member: &Member, shown: Shown, (to, privacy): (UserId, Privacy)) -> DescribedMember {
    let Member { user, membership, marks, .. } = member;
    let Shown { delivered, read } =
        if *user == to { Shown { delivered: marks.delivered, read: marks.read } } else { shown.to(privacy) };
    DescribedMember {
        user: *user,
        role: membership.role,
        joined: membership.joined,
        left: membership.stay.last,
        delivered,
        read,
    }
}
