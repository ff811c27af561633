//! Groups: making and changing them, and asking who is in one.

use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, Frame, Seq, UserId, WireError,
    archive::{self, Archived},
    frame,
    frames::{
        Describe, Described, DescribedMember, GroupAct, GroupSettings, LinkBody, Role, Users, group::digest_of_link,
    },
};

use crate::{
    content::Content,
    event::{Event, Group, Message},
    session::{Request, Resting, Session},
};

/// How often a page that the server was too busy for is asked for again.
const REFUSALS_MAX: u32 = 8;

/// What a conversation is, as far as it has come.
#[derive(Debug)]
pub(crate) struct Description {
    conversation: ConversationId,
    members: Vec<DescribedMember>,
    extent: Extent,
    refusals: u32,
}

/// How much of a description is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All members, unless the group is large: then the first page of them.
    Usual,
    /// All members.
    Everything,
    /// No member, and how many have read a message.
    Readers(Seq),
}

/// True if a message makes `user` a member: what is older counts as read.
pub(crate) fn takes_in(message: &Message, user: UserId) -> bool {
    match GroupAct::read(message.control, &message.body) {
        Ok(Some(GroupAct::Add(users))) => users.iter().any(|added| added == user),
        Ok(Some(GroupAct::Join { .. })) => message.sender == user,
        _ => false,
    }
}

/// The title that a message gives to its group, if it does.
pub(crate) fn title_of(message: &Message) -> Option<String> {
    match GroupAct::read(message.control, &message.body) {
        Ok(Some(GroupAct::Create { title, .. } | GroupAct::Settings { title, .. })) => {
            Some(String::from_utf8_lossy(title).into_owned())
        }
        _ => None,
    }
}

impl Session {
    /// Makes a group of this user, its owner, and others. `nonce` names it among the groups of this user: the same nonce, members, title and
    /// settings again are answered with the same group. The group, and the attempt that makes it. For `payload` see [`Self::act`].
    pub fn create_group(
        &mut self,
        nonce: [u8; 16],
        title: &str,
        settings: GroupSettings,
        members: &[UserId],
        payload: &[u8],
    ) -> (ConversationId, ClientMsgId) {
        let conversation = ConversationId::group(self.config.user, &nonce);
        let ids: Vec<_> = members.iter().map(|member| member.0).collect();
        let (title, members) = (title.as_bytes(), Users::new(&ids));
        (conversation, self.act(conversation, &GroupAct::Create { nonce, settings, title, members }, payload))
    }

    /// Does something to a group: a message like any other, with its place in the order, [`Event::Sent`] or [`Event::SendFailed`]. `payload`
    /// is for the people who read it; by custom it has the names of whom the act is about, a line each.
    pub fn act(&mut self, group: ConversationId, act: &GroupAct<'_>, payload: &[u8]) -> ClientMsgId {
        let mut body = Vec::new();
        let control = act.write(&mut body);
        let content = Content { control, body, ..Content::text(payload) };
        self.put_out((group, UserId::NONE), content)
    }

    /// Makes a link by which others join a group, or a new one instead of the one before. The server does not know `secret`, which is to be
    /// random: what the application gives to others is the group's id and this.
    pub fn make_link(&mut self, group: ConversationId, secret: &[u8; 16]) -> ClientMsgId {
        self.act(group, &GroupAct::Link(LinkBody { digest: digest_of_link(group, secret) }), &[])
    }

    /// Nobody can join a group by a link any more.
    pub fn end_link(&mut self, group: ConversationId) -> ClientMsgId {
        self.act(group, &GroupAct::Link(LinkBody { digest: [0; 16] }), &[])
    }

    /// Joins a group by its link. `payload` is for the members; by custom it is this user's name.
    pub fn join(&mut self, group: ConversationId, secret: [u8; 16], payload: &[u8]) -> ClientMsgId {
        self.act(group, &GroupAct::Join { secret: Some(secret) }, payload)
    }

    /// Asks what a conversation is and who is in it, to be told as [`Event::Described`]; of a large group the first members. Nothing happens
    /// while the session is not up, and what has not come when the connection ends must be asked for again.
    pub fn describe(&mut self, conversation: ConversationId) {
        self.ask_about(conversation, Extent::Usual);
    }

    /// The same with all members, however many there are.
    pub fn describe_all(&mut self, conversation: ConversationId) {
        self.ask_about(conversation, Extent::Everything);
    }

    /// Asks how many have read a message, to be told as [`Event::Counted`].
    pub fn count_readers(&mut self, conversation: ConversationId, seq: Seq) {
        self.ask_about(conversation, Extent::Readers(seq));
    }

    fn ask_about(&mut self, conversation: ConversationId, extent: Extent) {
        if self.is_up() {
            self.ask_description(Description { conversation, members: Vec::new(), extent, refusals: 0 });
        }
    }

    pub(crate) fn ask_description(&mut self, description: Description) {
        let conversation = description.conversation;
        let (from, counted) = match description.extent {
            Extent::Readers(seq) => (u32::MAX, seq),
            _ => (u32::try_from(description.members.len()).unwrap_or(u32::MAX), Seq(0)),
        };
        let request = self.request_id();
        let describe = Describe { conversation, from, limit: 0, counted };
        frame::append(&mut self.out, request, &describe);
        self.requests.insert(request, Request::Description(Box::new(description)));
    }

    pub(crate) fn on_described(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let described: Described = frame.fixed()?;
        let Some(Request::Description(mut description)) = self.requests.remove(&frame.header().request_id) else {
            return Ok(());
        };
        let (title, entries) = (frame.var(described.title)?, frame.var(described.entries)?);
        let (step, count) = (described.entry_len as usize, described.count as usize);
        if count > 0 && (step < DescribedMember::FIRST_LEN || entries.len() < step * count) {
            return Err(WireError::Body);
        }
        for entry in entries.chunks_exact(step.max(1)).take(count) {
            description.members.push(archive::read(entry)?);
        }
        let conversation = described.conversation;
        if let Some(known) =
            self.conversations.get_mut(&described.conversation).filter(|known| known.last >= described.head)
        {
            known.timer = described.timer;
        }
        // A server of before this was counted does not say it.
        let knows = frame.fixed_bytes().len() >= Described::LEN;
        if let Extent::Readers(seq) = description.extent {
            let readers = Some(described.readers).filter(|readers| knows && *readers != Described::NOT_COUNTED);
            self.events.push_back(Event::Counted { conversation, seq, readers, members: described.current });
            return Ok(());
        }
        let goes_on = description.extent == Extent::Everything || !described.is_large;
        if goes_on && count > 0 && description.members.len() < described.members as usize {
            self.ask_description(*description);
            return Ok(());
        }
        let current = || description.members.iter().filter(|member| member.role != Role::None).count();
        self.events.push_back(Event::Described(Group {
            conversation,
            head: described.head,
            title: String::from_utf8_lossy(title).into_owned(),
            settings: described.settings,
            deleted: described.deleted,
            has_link: described.has_link,
            timer: described.timer,
            is_large: described.is_large,
            current: if knows { described.current } else { u32::try_from(current()).unwrap_or(u32::MAX) },
            members: description.members,
        }));
        Ok(())
    }

    pub(crate) fn on_describe_refused(&mut self, mut refused: Description, code: ErrorCode, retry_ms: Option<u64>) {
        let Description { conversation, refusals, .. } = refused;
        match retry_ms.filter(|_| refusals < REFUSALS_MAX) {
            Some(wait_ms) => {
                refused.refusals += 1;
                self.resting.push((self.now.plus_ms(wait_ms.max(1) << refusals), Resting::Description(refused)));
            }
            None => self.events.push_back(Event::DescribeFailed { conversation, code }),
        }
    }
}
