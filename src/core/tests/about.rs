//! What is said about earlier messages, against a model: random edits, withdrawals, reactions and timers of random members, committed, dropped,
//! written again and recovered. The model is a list of what everybody said.

use std::collections::BTreeMap;

use tidings_core::{Mono, NodeConfig, features::Windows};
use tidings_testkit::{Cluster, Device, Reactor, frames::Attempt, user};
use tidings_wire::{
    ConversationId, ErrorCode, Generation, Kind, Seq, Timestamp, UserId,
    frames::{
        Clear, Control, Describe, Described, ErrorFrame, Fetch, FetchOrder, GroupAct, GroupSettings, HistoryFrom,
        Message, MessageFlags, Role, RoleBody, Sent, Timer, Users,
        about::control::{EDIT, ERASE, REACT, TIMER},
        streamed::control::{END, OPEN},
    },
    limits::{REACTION_MAX, STREAMS_MAX, STREAMS_OF_MEMBER, TIMER_MAX_S},
};

/// In the group: the owner, two admins, a member, one who came later and sees only that, one who was removed. The first two talk alone, too.
const NAMES: [&str; 6] = ["ann", "bob", "cat", "dan", "eve", "fay"];
const WINDOWS: Windows = Windows { edit_s: 100, erase_s: 300 };
const NONCE: [u8; 16] = [5; 16];

/// A message, as anybody would keep it on paper.
#[derive(Clone, Debug)]
struct Said {
    author: usize,
    control: Control,
    target: u64,
    words: String,
    /// Seconds on the test's clock.
    at: u64,
    gone_at: Option<u64>,
    erased: Option<u64>,
    /// What it says since it has ended, if it was opened.
    ended: Option<String>,
}

impl Said {
    fn grows(&self) -> bool {
        self.control == OPEN && self.ended.is_none() && self.erased.is_none()
    }
}

#[derive(Clone, Debug, Default)]
struct Model {
    said: Vec<Said>,
    timer: u32,
    last: BTreeMap<usize, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Direct,
    Group,
}

/// Messages of the group before anything else happens: it is made, its admins are named, one comes and one goes.
const PRELUDE: u64 = 5;

impl Where {
    fn role(self, who: usize) -> Role {
        match (self, who) {
            (Self::Direct, 0 | 1) => Role::Member,
            (Self::Direct, _) | (Self::Group, 5) => Role::None,
            (Self::Group, 0) => Role::Owner,
            (Self::Group, 1 | 2) => Role::Admin,
            (Self::Group, _) => Role::Member,
        }
    }

    fn first_readable(self, who: usize) -> u64 {
        if self == Self::Group && who == 4 { PRELUDE } else { 1 }
    }
}

impl Model {
    /// What must come of an act: its number, that of the message that did it before, or an error.
    fn expect(
        &self,
        at: Where,
        who: usize,
        (control, target): (Control, u64),
        (now, committed): (u64, u64),
    ) -> Result<u64, ErrorCode> {
        use ErrorCode::{NotAllowed, NotMember, TargetErased, TargetInvalid, TooLate};
        let next = self.said.len() as u64 + 1;
        if at.role(who) == Role::None {
            return Err(NotMember);
        }
        if control == TIMER {
            return if at == Where::Group && at.role(who) < Role::Admin { Err(NotAllowed) } else { Ok(next) };
        }
        if [Control::TEXT, OPEN].contains(&control) && target >= next {
            return Err(TargetInvalid);
        }
        if control == Control::TEXT {
            return Ok(next);
        }
        if control == OPEN {
            let growing = self.said.iter().filter(|said| said.grows());
            let own = growing.clone().filter(|said| said.author == who).count();
            let too_many = own >= STREAMS_OF_MEMBER || growing.count() >= STREAMS_MAX;
            return if too_many { Err(ErrorCode::TooMany) } else { Ok(next) };
        }
        if target < at.first_readable(who) || target >= next {
            return Err(TargetInvalid);
        }
        let said = &self.said[target as usize - 1];
        if control == END && said.erased.is_none() {
            return match said.grows() && said.author == who {
                true if target > committed => Err(ErrorCode::Busy),
                true => Ok(next),
                false => Err(TargetInvalid),
            };
        }
        if let Some(erasure) = said.erased {
            let is_committed = erasure <= committed;
            return match control {
                ERASE => Ok(erasure),
                _ if !is_committed => Err(ErrorCode::Busy),
                _ => Err(TargetErased),
            };
        }
        if said.gone_at.is_some_and(|gone| gone <= now) {
            return Err(TargetErased);
        }
        let may = if control == ERASE { &[Control::TEXT, OPEN, EDIT, REACT][..] } else { &[Control::TEXT, OPEN] };
        if !may.contains(&said.control) || control == EDIT && said.grows() {
            return Err(TargetInvalid);
        }
        if control == REACT {
            return Ok(next);
        }
        let age = now - said.at;
        let moderates = at == Where::Group && at.role(who) >= Role::Admin;
        match control {
            EDIT if said.author != who => Err(NotAllowed),
            EDIT if age > u64::from(WINDOWS.edit_s) => Err(TooLate),
            ERASE if said.author != who => {
                if moderates && at.role(who) > at.role(said.author) {
                    Ok(next)
                } else {
                    Err(NotAllowed)
                }
            }
            ERASE if age > u64::from(WINDOWS.erase_s) && !moderates => Err(TooLate),
            _ => Ok(next),
        }
    }

    fn apply(&mut self, who: usize, (control, target): (Control, u64), words: &str, now: u64) {
        let next = self.said.len() as u64 + 1;
        match control {
            ERASE => self.said[target as usize - 1].erased = Some(next),
            TIMER => self.timer = words.parse().unwrap(),
            END => self.said[target as usize - 1].ended = Some(words.to_owned()),
            _ => {}
        }
        let gone_at = match control {
            Control::TEXT | OPEN if self.timer > 0 => Some(now + u64::from(self.timer)),
            EDIT | REACT | END => self.said[target as usize - 1].gone_at,
            _ => None,
        };
        let words = if control == TIMER { String::new() } else { words.to_owned() };
        self.said.push(Said { author: who, control, target, words, at: now, gone_at, erased: None, ended: None });
    }

    /// What is to be seen of a message.
    fn shown(&self, seq: u64, now: u64) -> (String, bool) {
        let said = &self.said[seq as usize - 1];
        let about = [EDIT, REACT, END].contains(&said.control);
        let erased = said.erased.is_some() || about && self.said[said.target as usize - 1].erased.is_some();
        if erased || said.gone_at.is_some_and(|at| at <= now) {
            return (String::new(), true);
        }
        (said.ended.as_ref().unwrap_or(&said.words).clone(), false)
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Run {
    at: Where,
    cluster: Cluster,
    conversation: ConversationId,
    devices: Vec<Device>,
    model: Model,
    committed: Model,
    attempts: u64,
    connections: u64,
}

impl Run {
    fn new(at: Where, reactors: u16) -> Self {
        let (ann, bob) = (user(NAMES[0]), user(NAMES[1]));
        let conversation = match at {
            Where::Direct => ConversationId::direct(ann, bob),
            Where::Group => ConversationId::group(ann, &NONCE),
        };
        let mut run = Self {
            at,
            cluster: Cluster::with(reactors, |config| NodeConfig { windows: WINDOWS, ..config }),
            conversation,
            devices: Vec::new(),
            model: Model::default(),
            committed: Model::default(),
            attempts: 0,
            connections: 0,
        };
        run.connect();
        if at == Where::Group {
            run.prelude();
        }
        run
    }

    fn prelude(&mut self) {
        let ids = |users: &[usize]| users.iter().map(|at| user(NAMES[*at]).0).collect::<Vec<_>>();
        let (first, later, gone) = (ids(&[1, 2, 3, 5]), ids(&[4]), ids(&[5]));
        let settings = GroupSettings { history: HistoryFrom::Joining, ..GroupSettings::default() };
        let role = |at: usize| GroupAct::Role(RoleBody { member: user(NAMES[at]), role: Role::Admin });
        let acts = [
            GroupAct::Create { nonce: NONCE, settings, title: b"t", members: Users::new(&first) },
            role(1),
            role(2),
            GroupAct::Remove(Users::new(&gone)),
            GroupAct::Add(Users::new(&later)),
        ];
        for act in acts {
            let mut body = Vec::new();
            let control = act.write(&mut body);
            self.send(0, (control, 0), &body, b"");
            self.model.apply(0, (control, 0), "", self.now());
        }
        self.commit();
        assert_eq!(self.model.said.len() as u64, PRELUDE);
    }

    fn now(&self) -> u64 {
        self.cluster.now.wall.0 / 1_000_000
    }

    fn connect(&mut self) {
        self.devices.clear();
        for name in NAMES {
            self.connections += 1;
            self.devices.push(self.cluster.live(name, 1, self.connections));
        }
        for _ in 0..5 {
            self.cluster.later(0);
            self.cluster.commit();
        }
        self.devices.iter().for_each(|device| drop(self.cluster.take(*device)));
    }

    fn send(&mut self, who: usize, (control, target): (Control, u64), body: &[u8], payload: &[u8]) {
        self.attempts += 1;
        let prev = self.model.last.get(&who).copied().unwrap_or(0);
        let peer = if self.at == Where::Direct && who < 2 { user(NAMES[1 - who]) } else { UserId::NONE };
        let attempt =
            Attempt { control, target, body, payload, ..Attempt::to(self.conversation, peer, (self.attempts, prev)) };
        self.cluster.bytes(self.devices[who], &attempt.bytes());
        self.model.last.insert(who, self.attempts);
    }

    fn act(&mut self, who: usize, act: (Control, u64), words: &str) {
        let now = self.now();
        let expected = self.model.expect(self.at, who, act, (now, self.committed.said.len() as u64));
        let last = self.model.last.clone();
        if act.0 == TIMER {
            let body = Timer { seconds: words.parse().unwrap() }.to_bytes();
            self.send(who, act, &body, b"");
        } else {
            self.send(who, act, b"", words.as_bytes());
        }
        match expected {
            Err(code) => {
                let out = self.cluster.take(self.devices[who]);
                let error = out.all::<ErrorFrame>().first().map(|error| ErrorCode::from_u16(error.code).unwrap());
                assert_eq!(error, Some(code), "{who} {act:?} at {now} in {:?}", self.model);
                self.model.last = last;
            }
            Ok(seq) if seq <= self.model.said.len() as u64 => {
                // Done before. While that is not committed, it may yet be undone.
                self.model.last = last;
                let out = self.cluster.take(self.devices[who]);
                if seq > self.committed.said.len() as u64 {
                    assert_eq!(out.error().0, ErrorCode::Busy);
                } else {
                    assert_eq!(
                        out.all::<Sent>().first().map(|sent| (sent.seq, sent.ts)),
                        Some((Seq(seq), Timestamp(0)))
                    );
                }
            }
            Ok(_) => {
                self.model.apply(who, act, words, now);
                let errors = self.cluster.take(self.devices[who]).all::<ErrorFrame>();
                assert!(errors.is_empty(), "{who} {act:?}: {errors:?}");
            }
        }
    }

    fn commit(&mut self) {
        self.cluster.commit();
        self.cluster.later(0);
        self.committed = self.model.clone();
        for at in 0..NAMES.len() {
            let out = self.cluster.take(self.devices[at]);
            assert!(out.all::<ErrorFrame>().is_empty(), "{:?}", out.error());
        }
    }

    fn drop_proposed(&mut self) {
        for Reactor { node, world, .. } in &mut self.cluster.reactors {
            node.at(self.cluster.now, world).drop_proposed();
        }
        self.cluster.deliver();
        self.devices.iter().for_each(|device| drop(self.cluster.take(*device)));
        self.model = self.committed.clone();
    }

    /// By the clock on the wall. By the other one so little passes that nobody counts as silent who writes a message.
    fn later(&mut self, seconds: u64) {
        let now = &mut self.cluster.now;
        (now.mono, now.wall) = (Mono(now.mono.0 + 1_000_000_000), Timestamp(now.wall.0 + seconds * 1_000_000));
    }

    /// Everybody reads what the model shows, from either end.
    fn check(&mut self) {
        for (who, name) in NAMES.into_iter().enumerate() {
            if self.at.role(who) == Role::None {
                continue;
            }
            for order in [FetchOrder::Upward, FetchOrder::Last] {
                self.check_history(who, order);
            }
            self.cluster.ask(
                self.devices[who],
                &Describe { conversation: self.conversation, from: 0, limit: 0, counted: Seq(0) },
            );
            let described = self.cluster.take(self.devices[who]).all::<Described>();
            let timer = described.first().map(|described| described.timer);
            // What was only proposed may have left a conversation without messages.
            let is_right = timer == Some(self.model.timer) || self.model.said.is_empty();
            assert!(is_right, "{name} is told {timer:?} of {:?}", self.model);
        }
        let digests = self.cluster.digests();
        for (reactor, digests) in self.cluster.reactors.iter().zip(digests) {
            assert_eq!(reactor.replayed(0).digests().collect::<BTreeMap<_, _>>(), digests);
        }
    }

    fn check_history(&mut self, who: usize, order: FetchOrder) {
        if self.model.said.is_empty() {
            return;
        }
        let fetch = Fetch { conversation: self.conversation, from: Seq(1), upto: Seq(0), limit: 0, order };
        self.cluster.ask(self.devices[who], &fetch);
        for _ in 0..4 {
            self.cluster.serve_reads();
        }
        let (out, now) = (self.cluster.take(self.devices[who]), self.now());
        let mut read = 0;
        for frame in out.frames().into_iter().filter(|frame| frame.kind() == Ok(Kind::Message)) {
            let message: Message = frame.fixed().unwrap();
            let payload = frame.var(message.payload).unwrap();
            let (words, emptied) = self.model.shown(message.seq.0, now);
            let context = || format!("{} reads {} at {now} of {:?}", NAMES[who], message.seq.0, self.model);
            assert_eq!(std::str::from_utf8(payload).unwrap(), words, "{}", context());
            assert_eq!(message.flags.0 & MessageFlags::EMPTIED != 0, emptied, "{}", context());
            let body = frame.var(message.body).unwrap();
            assert_eq!(message.payload_crc, Message::crc_of_content(body, payload));
            read += 1;
        }
        let expected = self.model.said.len() as u64 + 1 - self.at.first_readable(who);
        assert_eq!(read, expected, "{} {order:?}", NAMES[who]);
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let at = if seed.is_multiple_of(2) { Where::Direct } else { Where::Group };
    let mut run = Run::new(at, 1 + (seed % 3) as u16);
    for step in 0..120 {
        match random.below(12) {
            0 => run.drop_proposed(),
            1 => run.cluster.reactors.iter_mut().for_each(|reactor| reactor.node.start_evacuation(Generation(1))),
            2 | 3 => run.commit(),
            4 => run.later(1 + random.below(120)),
            5 if random.below(4) == 0 => {
                run.commit();
                run.check();
                run.cluster.restart();
                run.connect();
            }
            _ => {
                let controls =
                    [Control::TEXT, Control::TEXT, EDIT, EDIT, ERASE, REACT, REACT, TIMER, OPEN, OPEN, END, END, END];
                let control = controls[random.below(controls.len() as u64) as usize];
                let head = run.model.said.len() as u64;
                let near = [3, 12][random.below(2) as usize];
                let target = if control == TIMER { 0 } else { (head + 1).saturating_sub(random.below(near)) };
                let is_content = [Control::TEXT, OPEN].contains(&control);
                let target = if is_content && random.below(2) == 0 { 0 } else { target };
                let words = match control {
                    TIMER => [0, 0, 50, 2000][random.below(4) as usize].to_string(),
                    ERASE | OPEN => String::new(),
                    REACT if random.below(3) == 0 => String::new(),
                    _ => format!("words {step}"),
                };
                let strangers = u64::from(random.below(8) == 0);
                let who = random.below(if at == Where::Direct { 2 + strangers } else { NAMES.len() as u64 });
                run.act(who as usize, (control, target), &words);
            }
        }
    }
    run.commit();
    run.check();
}

#[test]
fn what_is_said_about_messages_is_as_the_model_says() {
    (0..60).for_each(run);
}

/// What must be refused whatever was said before.
#[test]
fn nonsense_about_messages_is_refused() {
    let mut run = Run::new(Where::Group, 2);
    run.send(3, (Control::TEXT, 0), b"", b"hello");
    run.model.apply(3, (Control::TEXT, 0), "hello", run.now());
    run.commit();
    let target = PRELUDE + 1;
    let long = [b'x'; REACTION_MAX + 1];
    let mut mentions = Vec::new();
    Clear { mentions: Users::new(&[[1; 16]]), ..Clear::default() }.write(&mut mentions);
    let over = Timer { seconds: TIMER_MAX_S + 1 }.to_bytes();
    let refused = [
        ((REACT, target), &b""[..], &long[..], ErrorCode::PayloadTooLarge),
        ((REACT, target), &mentions, b"+", ErrorCode::BodyInvalid),
        ((REACT, 0), b"", b"+", ErrorCode::TargetInvalid),
        ((REACT, u64::MAX), b"", b"+", ErrorCode::TargetInvalid),
        ((EDIT, target), b"\x01", b"new", ErrorCode::BodyInvalid),
        ((EDIT, 1), b"", b"new", ErrorCode::TargetInvalid),
        ((ERASE, target), b"", b"why", ErrorCode::BodyInvalid),
        ((ERASE, target), b"x", b"", ErrorCode::BodyInvalid),
        ((ERASE, 1), b"", b"", ErrorCode::TargetInvalid),
        ((TIMER, 0), &over, b"", ErrorCode::BodyInvalid),
        ((TIMER, 0), b"", b"", ErrorCode::BodyInvalid),
        ((TIMER, 1), &Timer { seconds: 5 }.to_bytes(), b"", ErrorCode::BodyInvalid),
        ((Control::TEXT, target + 1), b"", b"to the future", ErrorCode::TargetInvalid),
        ((Control::TEXT, 0), b"\x01\x02", b"words", ErrorCode::BodyInvalid),
    ];
    for (act, body, payload, code) in refused {
        let last = run.model.last.clone();
        // By the owner: it may everything else.
        run.send(0, act, body, payload);
        run.model.last = last;
        assert_eq!(run.cluster.take(run.devices[0]).error().0, code, "{act:?}");
    }
    // The clear part comes with the text, and goes with it.
    run.send(3, (Control::TEXT, target), &mentions, b"you");
    run.model.apply(3, (Control::TEXT, target), "you", run.now());
    run.cluster.commit();
    let out = run.cluster.take(run.devices[1]);
    let frame = out.frames().into_iter().find(|frame| frame.kind() == Ok(Kind::Message)).expect("pushed");
    let message: Message = frame.fixed().unwrap();
    assert_eq!((message.target, frame.var(message.body).unwrap()), (Seq(target), &mentions[..]));
    run.act(3, (ERASE, target + 1), "");
    run.commit();
    run.check();
}

/// Withdrawing something twice is withdrawing it once, whoever does it, and its number is told.
#[test]
fn what_is_withdrawn_twice_is_withdrawn_once() {
    let mut run = Run::new(Where::Direct, 2);
    run.act(0, (Control::TEXT, 0), "hello");
    run.act(0, (ERASE, 1), "");
    run.cluster.commit();
    run.committed = run.model.clone();
    run.cluster.take(run.devices[0]);
    for (who, attempts) in [(0, 2), (1, 1)] {
        for _ in 0..attempts {
            let last = run.model.last.clone();
            run.send(who, (ERASE, 1), b"", b"");
            run.model.last = last;
            let sent = run.cluster.take(run.devices[who]).all::<Sent>();
            assert_eq!(sent.first().map(|sent| (sent.seq, sent.ts)), Some((Seq(2), Timestamp(0))));
        }
    }
    // It is still done once others came after it, which name it.
    run.send(0, (ERASE, 1), b"", b"");
    run.send(0, (Control::TEXT, 0), b"", b"after it");
    run.cluster.commit();
    run.model.apply(0, (Control::TEXT, 0), "after it", run.now());
    let sent = |run: &mut Run| -> Vec<_> {
        run.cluster.take(run.devices[0]).all::<Sent>().iter().map(|sent| sent.seq.0).collect()
    };
    assert_eq!(sent(&mut run), [2, 3]);
    let (id, last) = (run.attempts - 1, run.model.last.clone());
    let again = Attempt { control: ERASE, target: 1, ..Attempt::to(run.conversation, user(NAMES[1]), (id, 0)) };
    run.cluster.bytes(run.devices[0], &again.bytes());
    assert_eq!(sent(&mut run), [2]);
    run.model.last = last;
    run.act(0, (Control::TEXT, 0), "goes on");
    run.commit();
    run.check();
}

/// Rows alone, without the records that they stand for, say what was withdrawn: also with more marks than one row holds.
#[test]
fn what_was_withdrawn_is_known_from_rows_alone() {
    const MANY: u64 = 300;
    let mut run = Run::new(Where::Direct, 1);
    for target in 1..=MANY {
        run.act(0, (Control::TEXT, 0), "words");
        if target.is_multiple_of(50) {
            run.commit();
        }
    }
    // The last of them are proposed while the rows are written.
    for target in 1..=MANY {
        run.act(0, (ERASE, target), "");
        if target.is_multiple_of(50) && target < MANY {
            run.commit();
        }
    }
    let before = run.cluster.reactors[0].records();
    run.cluster.reactors[0].node.start_evacuation(Generation(1));
    for _ in 0..4 {
        run.cluster.later(0);
        run.cluster.commit();
    }
    run.cluster.reactors[0].node = run.cluster.reactors[0].replayed(before);
    run.connect();
    for target in [1, 255, 256, 257, MANY] {
        let last = run.model.last.clone();
        run.send(0, (ERASE, target), b"", b"");
        run.model.last = last;
        let out = run.cluster.take(run.devices[0]);
        let sent: Vec<_> = out.all::<Sent>().iter().map(|sent| sent.seq.0).collect();
        assert_eq!(sent, [MANY + target], "{:?}", out.kinds());
    }
}
