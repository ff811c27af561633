//! Sequences of inputs to one reactor's node, against a simple model: attempts and numbers go together one to one, numbers
//! have no gaps, and whatever was acknowledged is there after a restart that lost all that was not durable.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tidings_core::{Authenticated, ConnId, Mono, NodeConfig, Now, SessionId, limits::Rate};
use tidings_fuzz::Choices;
use tidings_testkit::{
    ADDRESS,
    frames::{self, frames},
    names,
    reactor::{self, beginning, node_config},
};
use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, Kind, Lineage, Seq, UserId, Uv,
    frame::{self, FixedPart},
    frames::*,
    limits::FRAME_MAX,
    split,
};

const USERS: u64 = 3;

fn name(at: u64) -> String {
    format!("user{at}")
}

fn user(at: u64) -> UserId {
    names::user(&name(at))
}

fn who(at: u64, device: u32, connection_number: u64) -> Authenticated {
    names::numbered(&name(at), device, connection_number)
}

/// A reactor and its time.
struct Reactor {
    at: reactor::Reactor,
    now: Now,
}

impl Reactor {
    /// A group with more than so many members is large.
    fn new(group_small_max: u32) -> Self {
        let user_rate = Rate { per_second: 50, burst: 50 };
        let config = NodeConfig { user_rate, entities_max: 8, group_small_max, ..node_config(0, 1, 8) };
        Self { at: reactor::Reactor::new(config), now: beginning() }
    }

    fn open(&mut self, who: &Authenticated, conn: u64) -> Option<SessionId> {
        self.at.node.at(self.now, &mut self.at.world).open_session(who, (ConnId(conn), ADDRESS)).ok()
    }

    /// Time passes, and reads that were asked for are done.
    fn turn(&mut self, ms: u64) {
        self.now.mono = Mono(self.now.mono.0 + ms * 1_000_000);
        self.now.wall.0 += ms * 1000;
        self.at.timeout(self.now);
        self.at.serve_reads(self.now);
    }
}

/// A live session of the model.
#[derive(Clone, Copy)]
struct Live {
    id: SessionId,
    conn: u64,
    user: u64,
    device: u32,
}

#[derive(Default)]
struct Model {
    /// The number of each attempt, as it was told.
    answers: BTreeMap<(UserId, u32, ConversationId, ClientMsgId), Seq>,
    /// Payloads by number, as anybody was given them.
    messages: BTreeMap<(ConversationId, Seq), Vec<u8>>,
}

impl Model {
    fn look(&mut self, live: &Live, output: &[u8]) {
        for frame in frames(output) {
            match frame.kind() {
                Ok(Kind::Sent) => {
                    let sent: Sent = frame.fixed().expect("a node says only what can be read");
                    let attempt = (user(live.user), live.device, sent.conversation, sent.client_msg_id);
                    let first = *self.answers.entry(attempt).or_insert(sent.seq);
                    assert_eq!(first, sent.seq, "a repeat gets the first answer");
                    let twice = self.answers.iter().filter(|(other, seq)| other.2 == attempt.2 && **seq == sent.seq);
                    // A group is made once, whoever tries.
                    let is_made = sent.conversation.is_group() && sent.seq == Seq(1);
                    assert!(twice.count() == 1 || is_made, "a number is one attempt's");
                }
                Ok(Kind::Message) => {
                    let message: Message = frame.fixed().expect("a node says only what can be read");
                    let payload = frame.var(message.payload).expect("inside the frame").to_vec();
                    let is_of_two = [message.sender, message.peer].contains(&user(live.user));
                    assert!(is_of_two || message.conversation.is_group(), "only members are told");
                    let first = self.messages.entry((message.conversation, message.seq)).or_insert(payload.clone());
                    assert_eq!(*first, payload, "everybody is given the same");
                }
                _ => {}
            }
        }
    }
}

fn say<T: FixedPart>(reactor: &mut Reactor, live: &Live, part: &T) {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, 9, part);
    give(reactor, live, &bytes);
}

fn give(reactor: &mut Reactor, live: &Live, bytes: &[u8]) {
    if let Ok(Some(frame)) = split(bytes, FRAME_MAX) {
        reactor.at.node.at(reactor.now, &mut reactor.at.world).frame(live.id, &frame);
    }
}

fn send(reactor: &mut Reactor, live: &Live, choices: &mut Choices<'_>) {
    let (peer, id) = (choices.below(USERS), 1 + choices.below(12));
    let prev = if choices.byte() % 4 == 0 { 0 } else { id - 1 };
    let text = [live.user as u8, live.device as u8, peer as u8, id as u8];
    give(reactor, live, &frames::send(user(live.user), user(peer), id, prev, &text));
}

/// The one group, which the first user may make.
fn group() -> ConversationId {
    ConversationId::group(user(0), &NONCE)
}

const NONCE: [u8; 16] = [7; 16];
const SECRET: [u8; 16] = [8; 16];

/// Somebody does something in the group, or tries.
fn act(reactor: &mut Reactor, live: &Live, choices: &mut Choices<'_>) {
    let (id, named) = (1 + choices.below(12), [user(choices.below(USERS)).0, user(choices.below(USERS)).0]);
    let prev = if choices.byte() % 4 == 0 { 0 } else { id - 1 };
    let users = Users::new(&named[..1 + choices.below(2) as usize]);
    let settings = GroupSettings { history: HistoryFrom::Joining, ..GroupSettings::default() };
    let act = match choices.below(10) {
        0 | 1 => GroupAct::Create { nonce: NONCE, settings, title: b"title", members: users },
        2 => GroupAct::Add(users),
        3 => GroupAct::Remove(users),
        4 => GroupAct::Leave,
        5 => GroupAct::Role(RoleBody { member: UserId(named[0]), role: Role::Owner }),
        6 => GroupAct::Link(LinkBody { digest: tidings_wire::frames::group::digest_of_link(group(), &SECRET) }),
        7 => GroupAct::Join { secret: Some(SECRET) },
        8 if choices.below(4) == 0 => GroupAct::Delete,
        _ => {
            let attempt =
                frames::Attempt { payload: &[id as u8], ..frames::Attempt::to(group(), UserId::NONE, (id, prev)) };
            return give(reactor, live, &attempt.bytes());
        }
    };
    let mut body = Vec::new();
    let control = act.write(&mut body);
    let attempt = frames::Attempt { control, body: &body, ..frames::Attempt::to(group(), UserId::NONE, (id, prev)) };
    give(reactor, live, &attempt.bytes());
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let group_small_max = if choices.byte() % 2 == 0 { 1 } else { 200 };
    let (mut reactor, mut model) = (Reactor::new(group_small_max), Model::default());
    let (mut lives, mut conns): (Vec<Live>, u64) = (Vec::new(), 0);
    while !choices.is_empty() {
        let live = lives.get(choices.below(lives.len() as u64) as usize).copied();
        let step = choices.byte() % 22;
        match (step, live) {
            (0, _) | (_, None) => {
                let (at, device) = (choices.below(USERS), 1 + choices.below(2) as u32);
                conns += 1;
                let who = who(at, device, choices.below(2) * conns);
                if let Some(id) = reactor.open(&who, conns) {
                    lives.push(Live { id, conn: conns, user: at, device });
                }
            }
            (1..=3, Some(live)) => send(&mut reactor, &live, &mut choices),
            (4, Some(_)) => reactor.at.commit(reactor.now),
            (5, Some(live)) => {
                let (conversation, upto) = (with(&live, &mut choices), Seq(choices.below(9)));
                if choices.byte() % 2 == 0 {
                    say(&mut reactor, &live, &Delivered { conversation, upto });
                } else {
                    say(&mut reactor, &live, &Read { conversation, upto, ordinal: upto.0 });
                }
            }
            (6, Some(live)) => {
                let (conversation, limit) = (with(&live, &mut choices), choices.below(5) as u32);
                let (from, upto) = (Seq(choices.below(9)), Seq(choices.below(9)));
                let order = if choices.byte() % 2 == 0 { FetchOrder::Upward } else { FetchOrder::Last };
                say(&mut reactor, &live, &Fetch { conversation, from, upto, limit, order });
            }
            (7, Some(live)) => {
                let (uv, below, page) = (Uv(choices.below(20)), Uv(choices.below(20)), choices.below(4) as u32);
                let (tails, tail) = (choices.below(3) as u16, choices.below(3) as u16);
                say(&mut reactor, &live, &Resume { lineage: Lineage([7; 16]), uv, below, page, tails, tail });
            }
            (8, Some(_)) => reactor.turn(choices.below(2000)),
            (9, Some(live)) => {
                reactor.at.node.close_session(live.id);
                lives.retain(|other| other.id != live.id);
            }
            (10, Some(_)) => {
                reactor.at.restart();
                lives.clear();
            }
            (11..=15, Some(live)) => act(&mut reactor, &live, &mut choices),
            (16, Some(live)) => {
                let (conversation, key) = (with(&live, &mut choices), SettingKey(1 + choices.below(8) as u16));
                let of_user = [SettingKey::READ_PRIVATE, SettingKey::VISIBILITY].contains(&key);
                let conversation = if of_user { ConversationId::NONE } else { conversation };
                let set = Set::new(conversation, key, choices.below(4));
                // Whom somebody blocks it names, or not, or wrongly.
                let peer = user(choices.below(USERS));
                let between = ConversationId::direct(user(live.user), peer);
                match key {
                    SettingKey::BLOCKED if choices.below(2) == 0 => {
                        say(&mut reactor, &live, &Set { conversation: between, peer, ..set });
                    }
                    SettingKey::BLOCKED => say(&mut reactor, &live, &Set { peer, ..set }),
                    _ => say(&mut reactor, &live, &set),
                }
            }
            (17, Some(live)) => {
                // Nobody is an administrator: others' are refused.
                let whose = if choices.below(4) == 0 { user(choices.below(USERS)) } else { UserId::NONE };
                let (device, flags) = (DeviceId(1 + choices.below(3) as u32), choices.below(8) as u32 / 7);
                say(&mut reactor, &live, &Revoke { device, user: whose, flags });
            }
            (18, Some(live)) => {
                let (conversation, from, limit) = (with(&live, &mut choices), choices.below(4) as u32, 0);
                say(&mut reactor, &live, &Describe { conversation, from, limit, counted: Seq(choices.below(9)) });
            }
            (19, Some(live)) => {
                let (conversation, user) = (with(&live, &mut choices), UserId::NONE);
                say(&mut reactor, &live, &Typing { conversation, user, doing: Doing(choices.byte()) });
                let activity = if choices.byte() % 2 == 0 { Activity::Inactive } else { Activity::Active };
                say(&mut reactor, &live, &SetActivity { activity });
            }
            (20, Some(live)) => {
                let conversation = if choices.byte() % 2 == 0 { group() } else { ConversationId::NONE };
                let mut bytes = Vec::new();
                let mut frame = frame::FrameBuilder::<Watch>::new(&mut bytes);
                let users = frame.var(&user((live.user + 1) % USERS).0);
                frame.finish(9, &Watch { conversation, users });
                give(&mut reactor, &live, &bytes);
            }
            (_, Some(live)) => give(&mut reactor, &live, choices.bytes(60)),
        }
        for live in &lives {
            if let Some(output) = reactor.at.world.outs.get_mut(&live.conn) {
                model.look(live, &std::mem::take(output));
                reactor.at.node.at(reactor.now, &mut reactor.at.world).output_gone(live.id);
            }
        }
        let closed = std::mem::take(&mut reactor.at.world.closed);
        lives.retain(|live| !closed.contains(&ConnId(live.conn)));
    }
    check_what_is_there(&mut reactor, &mut model);
});

/// What was acknowledged is there after a restart, under its number and with its text, and the numbers have no gaps.
fn check_what_is_there(reactor: &mut Reactor, model: &mut Model) {
    reactor.at.restart();
    reactor.turn(3_600_000); // full buckets for those who ask
    for at in 0..USERS {
        let conn = 1_000_000 + at;
        let Some(id) = reactor.open(&who(at, 9, 0), conn) else { continue }; // more homes than fit
        let live = Live { id, conn, user: at, device: 9 };
        for peer in 0..USERS {
            let conversation = ConversationId::direct(user(at), user(peer));
            let (from, upto, limit, order) = (Seq(1), Seq(0), 0, FetchOrder::Upward);
            reactor.at.world.outs.insert(conn, Vec::new());
            say(reactor, &live, &Fetch { conversation, from, upto, limit, order });
            for _ in 0..50 {
                reactor.turn(1);
            }
            let output = reactor.at.world.outs.remove(&conn).unwrap_or_default();
            model.look(&live, &output);
            let found = frames::messages(&output);
            assert!(found.iter().map(|(seq, _)| seq.0).eq(1..=found.len() as u64), "{found:?}");
            for (attempt, seq) in model.answers.iter().filter(|(attempt, _)| attempt.2 == conversation) {
                let (_, text) = &found[seq.0 as usize - 1];
                let right = (text[1], text[3]) == (attempt.1 as u8, attempt.3.0 as u8);
                assert!(user(u64::from(text[0])) == attempt.0 && right, "{attempt:?} was {seq:?}, which is {text:?}");
            }
        }
    }
}

fn with(live: &Live, choices: &mut Choices<'_>) -> ConversationId {
    if choices.byte() % 3 == 0 {
        return group();
    }
    ConversationId::direct(user(live.user), user(choices.below(USERS)))
}
