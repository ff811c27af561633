//! Users write messages piece by piece, end them, or leave them.

use tidings_client::{ClientMsgId, Content, ConversationId, MessageFlags, Seq, streamed_control::END};

use super::{
    World,
    devices::{Whom, user_id},
    users::tag,
};
use crate::{
    oracle::{identity, payload},
    trace::Moment,
};

/// A message that a device has opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    stream: ClientMsgId,
    place: usize,
    /// The tag of what it will say.
    tag: u64,
    /// Bytes of it, and how many are written.
    len: usize,
    written: usize,
    /// Its number, once its device knows.
    seq: Option<Seq>,
    /// It is to end once it has a number.
    is_whole: bool,
}

/// The least that one says: its tag.
const TAG_LEN: usize = 8;

impl World {
    /// The user of a device opens a message, writes at the one that it has opened, or ends it.
    pub(super) fn write_stream(&mut self, at: usize, place: usize, whom: Whom) {
        let Some(writing) = self.devices[at].writing else { return self.open_stream(at, place, whom) };
        match self.random.below(100) {
            0..75 => {
                let piece = self.random.between(0, writing.len as u64 / 3) as usize;
                self.write_on(at, writing.written + piece);
            }
            75..90 => self.end_stream(at),
            // What its user says otherwise than it did.
            _ => {
                if let (Some(seq), true) = (writing.seq, writing.place == place) {
                    self.post_tagged(at, place, whom, |words| Content {
                        control: END,
                        target: seq,
                        ..Content::text(words)
                    });
                }
            }
        }
    }

    fn open_stream(&mut self, at: usize, place: usize, whom: Whom) {
        let tag = tag(self.id(), at);
        let most = self.plan.payload_max.clamp(30, 20_000);
        let len = self.random.between(TAG_LEN as u64, most) as usize;
        let conversation: ConversationId = self.oracle.id(place);
        let device = &mut self.devices[at];
        let session = device.session.as_mut().expect("it is in hand");
        let stream = match whom {
            Whom::User(peer) => session.open_stream_to(user_id(peer), Content::default()),
            Whom::Group(_) => session.open_stream(conversation, Content::default()),
        };
        let opens = identity(user_id(device.user), device.id, stream);
        device.waiting += 1;
        device.writing = Some(Writing { stream, place, tag, len, written: 0, seq: None, is_whole: false });
        let user = user_id(device.user);
        self.attempted(at, (place, stream), opens, MessageFlags::CONTROL);
        self.oracle.put_about(opens, place, 0, None);
        self.oracle.durable.streams.plan(opens, payload(tag, len));
        self.tell(Moment::Put(at, place, opens));
        if let Whom::User(peer) = whom {
            self.oracle.writes_to(user, user_id(peer));
        }
    }

    fn write_on(&mut self, at: usize, upto: usize) {
        let device = &mut self.devices[at];
        let (Some(writing), Some(session)) = (&mut device.writing, &mut device.session) else { return };
        let upto = upto.min(writing.len);
        let text = payload(writing.tag, writing.len);
        if upto > writing.written && session.write_on(writing.stream, &text[writing.written..upto]) {
            writing.written = upto;
        }
    }

    /// A device's message is whole: it ends once it has a number.
    pub(super) fn end_stream(&mut self, at: usize) {
        let Some(writing) = self.devices[at].writing else { return };
        self.write_on(at, writing.written.max(TAG_LEN));
        let device = &mut self.devices[at];
        let (Some(writing), Some(session)) = (&mut device.writing, &mut device.session) else { return };
        writing.is_whole = true;
        if writing.seq.is_none() || writing.written < TAG_LEN {
            return;
        }
        let Writing { stream, place, tag, written, .. } = *writing;
        session.end_stream(stream);
        let end = session.last_id();
        device.waiting += 1;
        device.writing = None;
        self.attempted(at, (place, end), tag, MessageFlags::CONTROL);
        self.oracle.put_about(tag, place, written, None);
        self.tell(Moment::Put(at, place, tag));
    }

    /// A device is told the number of something that it sent: of the message that it has opened, perhaps.
    pub(super) fn stream_sent(&mut self, at: usize, id: ClientMsgId, seq: Seq) {
        if let Some(writing) = self.devices[at].writing.as_mut().filter(|writing| writing.stream == id) {
            writing.seq = Some(seq);
            if writing.is_whole {
                self.end_stream(at);
            }
        }
    }

    /// A message that a device opened is not there, or did not end as it was written.
    pub(super) fn stream_failed(&mut self, at: usize, stream: ClientMsgId) {
        self.devices[at].writing.take_if(|writing| writing.stream == stream);
    }
}
