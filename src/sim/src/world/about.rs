//! What users say about earlier messages, and how long they let messages live. Everybody tries everything, with right or without.

use tidings_client::{
    ClientMsgId, Content, ConversationId, ErrorCode, MessageFlags, Seq, Session,
    about_control::{ERASE, REACT},
};

use super::{
    World,
    devices::{Whom, user_id},
    users::tag,
};
use crate::{
    oracle::{identity, payload},
    random::MILLION,
    trace::Moment,
};

/// What may be refused of it, by the server's reasons: whether each refusal is right is for tests of the engine to say.
pub(super) const ABOUT_REFUSALS: &[ErrorCode] = &[
    ErrorCode::NotMember,
    ErrorCode::NotAllowed,
    ErrorCode::Gone,
    ErrorCode::TargetInvalid,
    ErrorCode::TargetErased,
    ErrorCode::TooLate,
    ErrorCode::TooMany,
    ErrorCode::StreamDiffers,
];

/// Seconds after which messages disappear: before anybody looks for the last time, or after.
const TIMERS_S: [u32; 4] = [0, 1, 1, 100_000];

impl World {
    /// The user of a device says something about an earlier message, or tries.
    pub(super) fn say_about(&mut self, at: usize, place: usize, whom: Whom) {
        let head = self.oracle.head(place).0;
        let near = *self.random.pick(&[3, 12, 100]);
        let target = Seq((head + 1).saturating_sub(self.random.below(near)));
        match self.random.below(115) {
            100.. => self.write_stream(at, place, whom),
            0..35 => self.post_tagged(at, place, whom, |words| Content::text(words).compressible().as_edit_of(target)),
            35..60 if self.random.chance(3 * MILLION / 4) => {
                self.post_tagged(at, place, whom, |words| Content { control: REACT, target, ..Content::text(words) });
            }
            35..60 => self.post_silent(at, place, whom, Content { control: REACT, target, ..Content::default() }, None),
            60..85 => {
                let content = Content { control: ERASE, target, ..Content::default() };
                self.post_silent(at, place, whom, content, Some(target));
            }
            85..90 => self.post_tagged(at, place, whom, |words| Content::text(words).answering(target)),
            _ => {
                let seconds = *self.random.pick(&TIMERS_S);
                self.post_silent(at, place, whom, Content::timer(seconds), None);
            }
        }
    }

    /// Something with words: their tag names it.
    pub(super) fn post_tagged(&mut self, at: usize, place: usize, whom: Whom, content: impl FnOnce(&[u8]) -> Content) {
        let tag = tag(self.id(), at);
        self.oracle.put_about(tag, place, WORDS, None);
        self.tell(Moment::Put(at, place, tag));
        let content = content(&payload(tag, WORDS));
        let flags = MessageFlags(content.flags).as_served(content.control).0;
        let id = self.post(at, place, whom, content);
        self.attempted(at, (place, id), tag, flags);
    }

    /// Something without words, which is known by who attempts it.
    fn post_silent(&mut self, at: usize, place: usize, whom: Whom, content: Content, erases: Option<Seq>) {
        let flags = MessageFlags(content.flags).as_served(content.control).0;
        let id = self.post(at, place, whom, content);
        let device = &self.devices[at];
        let tag = identity(user_id(device.user), device.id, id);
        self.oracle.put_about(tag, place, 0, erases);
        self.tell(Moment::Put(at, place, tag));
        self.attempted(at, (place, id), tag, flags);
    }

    fn post(&mut self, at: usize, place: usize, whom: Whom, content: Content) -> ClientMsgId {
        let conversation: ConversationId = self.oracle.id(place);
        let device = &mut self.devices[at];
        let session: &mut Session = device.session.as_mut().expect("it is in hand");
        device.waiting += 1;
        match whom {
            Whom::User(peer) => session.post_to(user_id(peer), content),
            Whom::Group(_) => session.post(conversation, content),
        }
    }
}

/// Bytes that it says to people.
const WORDS: usize = 16;
