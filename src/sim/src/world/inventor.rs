//! One account that writes to users who do not exist, as many as it can: each makes a conversation, whose state must be written again
//! whenever its segment is dropped.

use tidings_client::{DEFAULT_TENANT, UserId};
use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, Seq, Timestamp,
    frame::FrameBuilder,
    frames::{Control, Hello, Message, MessageFlags, Send, TraceId},
};

use super::{
    Event, World,
    links::{Side, Who},
    settle::Phase,
};
use crate::{
    agenda::{MS, Nanos},
    machine::LinkId,
};

/// Its name.
const NAME: &str = "user of nobody";
/// How often it writes, and to how many then.
const EVERY: Nanos = 10 * MS;
const AT_ONCE: u64 = 16;

/// What it does.
#[derive(Debug, Default)]
pub(super) struct Inventor {
    link: Option<LinkId>,
    invented: u64,
}

impl World {
    /// It writes to some more.
    pub(super) fn invent(&mut self) {
        if self.phase != Phase::Stormy {
            return; // limits are raised now
        }
        self.agenda.plan(self.now + EVERY, Event::Invent);
        let known = self.inventor.link.and_then(|id| self.links.get(&id).map(|link| (id, link.open)));
        let Some((link, true)) = known else { return self.let_inventor_in() };
        let mut bytes = Vec::new();
        for nth in self.inventor.invented..self.inventor.invented + AT_ONCE {
            append_invention(&mut bytes, nth);
        }
        self.inventor.invented += AT_ONCE;
        self.put_on_link(link, Side::Node, bytes);
    }

    fn let_inventor_in(&mut self) {
        let reactors = self.node.as_ref().map(|process| process.accepting()).unwrap_or_default();
        let Some(reactor) = reactors.first() else { return };
        let link = self.open_link(Who::Inventor, *reactor);
        self.inventor.link = Some(link);
        self.accept(*reactor, link, std::net::IpAddr::from([10, 9, 9, 8]));
        let mut bytes = Vec::new();
        let mut frame = FrameBuilder::<Hello>::new(&mut bytes);
        let (token, device_name) = (frame.var(format!("{NAME}:1").as_bytes()), frame.var(&[]));
        let connection_number = self.clock().wall.0;
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            device: DeviceId(1),
            user: UserId::NONE,
            capabilities: 0,
            token,
            connection_number,
            device_name,
        };
        frame.finish(1, &hello);
        self.put_on_link(link, Side::Node, bytes);
    }
}

fn append_invention(bytes: &mut Vec<u8>, nth: u64) {
    let (from, peer) = (UserId::derive(DEFAULT_TENANT, NAME), UserId::derive(DEFAULT_TENANT, &format!("nobody {nth}")));
    let mut frame = FrameBuilder::<Send>::new(bytes);
    let (payload, body) = (frame.var(b"are you there?"), frame.var(&[]));
    let send = Send {
        conversation: ConversationId::direct(from, peer),
        peer,
        client_msg_id: ClientMsgId(nth + 1),
        prev: ClientMsgId(0),
        expires_at: Timestamp(0),
        trace: TraceId::default(),
        flags: MessageFlags(0),
        payload_crc: Message::crc_of_content(&[], b"are you there?"),
        payload,
        control: Control::TEXT,
        target: Seq(0),
        body,
    };
    frame.finish(nth, &send);
}
