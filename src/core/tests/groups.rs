//! Groups against a model: random acts of random users, committed, dropped, written again and recovered. The model knows who is what and
//! who was there when, and nothing of how the product keeps it.

use std::collections::{BTreeMap, BTreeSet};

use tidings_core::{NodeConfig, limits::GROUP_READ_MS};
use tidings_testkit::{Cluster, Device, Reactor, frames::Attempt, user};
use tidings_wire::{
    ConversationId, ErrorCode, Generation, Kind, Lineage, Seq, UserId, Uv,
    frames::{
        Changed, ChangedConversation, Control, Describe, Described, DescribedMember, ErrorFrame, Fetch, FetchOrder,
        Fetched, GroupAct, GroupSettings, HistoryFrom, LinkBody, Message, Read, Resume, Role, RoleBody, Sent, Users,
        group::{control, digest_of_link},
    },
};

const NAMES: [&str; 7] = ["ann", "bob", "cat", "dan", "eve", "fay", "gus"];
const NONCE: [u8; 16] = [7; 16];

/// What a user wants to do.
#[derive(Clone, Debug)]
enum Wish {
    Create(Vec<usize>),
    Add(Vec<usize>),
    Remove(Vec<usize>),
    Leave,
    Role(usize, Role),
    Settings(GroupSettings, String),
    Delete,
    /// The link's number, or none.
    Link(Option<u8>),
    Join(u8),
    Text,
}

/// A group, as anybody would keep it on paper.
#[derive(Clone, Debug, Default)]
struct Model {
    settings: GroupSettings,
    title: String,
    created: Option<Vec<usize>>,
    deleted: bool,
    /// It has more members than a small group may, or had.
    large: bool,
    small_max: usize,
    link: Option<u8>,
    roles: BTreeMap<usize, Role>,
    /// Who may read each message, and who is told of it.
    messages: Vec<(BTreeSet<usize>, BTreeSet<usize>)>,
    /// Numbers of messages that are texts.
    texts: BTreeSet<u64>,
    /// Texts that each user has neither read nor written, and that came while it was a member.
    unread: BTreeMap<usize, BTreeSet<u64>>,
    /// Each user's last accepted attempt.
    last: BTreeMap<usize, u64>,
}

impl Model {
    fn role(&self, who: usize) -> Role {
        self.roles.get(&who).copied().unwrap_or_default()
    }

    fn is_or_was_member(&self, who: usize) -> bool {
        self.roles.contains_key(&who)
    }

    /// What must come of a wish: the message's number, or an error.
    fn expect(&self, who: usize, wish: &Wish) -> Result<u64, ErrorCode> {
        use ErrorCode::{AlreadyMember, BodyInvalid, LastOwner, NoSuchMember, NotAllowed, NotMember};
        let next = self.messages.len() as u64 + 1;
        if let Wish::Create(members) = wish {
            return match &self.created {
                _ if who != 0 => Err(NotMember),
                Some(before) if before != members => Err(ErrorCode::NonceConflict),
                Some(_) if self.deleted => Err(ErrorCode::Gone),
                Some(_) => Ok(1),
                None if members.is_empty() => Err(BodyInvalid),
                None if members.contains(&0) || twice(members) => Err(AlreadyMember),
                None => Ok(next),
            };
        }
        let role = self.role(who);
        if let Wish::Join(secret) = wish {
            return match self.link {
                Some(link) if link == *secret && self.deleted => Err(ErrorCode::Gone),
                Some(link) if link == *secret && role != Role::None => Err(AlreadyMember),
                Some(link) if link == *secret => Ok(next),
                _ => Err(NotMember),
            };
        }
        if role == Role::None || self.deleted {
            return Err(if self.deleted && self.is_or_was_member(who) { ErrorCode::Gone } else { NotMember });
        }
        let allowed = |least: Role| if role >= least { Ok(()) } else { Err(NotAllowed) };
        match wish {
            Wish::Create(_) | Wish::Join(_) => unreachable!(),
            Wish::Text => allowed(self.settings.write)?,
            Wish::Add(users) => {
                allowed(self.settings.add)?;
                if users.is_empty() {
                    return Err(BodyInvalid);
                }
                if twice(users) || users.iter().any(|user| self.role(*user) != Role::None) {
                    return Err(AlreadyMember);
                }
            }
            Wish::Remove(users) => {
                allowed(Role::Admin)?;
                if users.is_empty() || twice(users) {
                    return Err(BodyInvalid);
                }
                let mut users = users.clone();
                users.sort_by_key(|at| user(NAMES[*at]));
                for target in users {
                    match self.role(target) {
                        Role::None => return Err(NoSuchMember),
                        Role::Owner => return Err(LastOwner),
                        other if other >= role => return Err(NotAllowed),
                        _ => {}
                    }
                }
            }
            Wish::Leave => {
                let others = self.roles.values().filter(|role| **role != Role::None).count() > 1;
                if role == Role::Owner && others {
                    return Err(LastOwner);
                }
            }
            Wish::Role(target, new) => {
                allowed(Role::Owner)?;
                if *new == Role::None {
                    return Err(BodyInvalid);
                }
                if *target == who {
                    return Err(LastOwner);
                }
                if self.role(*target) == Role::None {
                    return Err(NoSuchMember);
                }
            }
            Wish::Settings(..) => allowed(self.settings.edit)?,
            Wish::Delete => allowed(Role::Owner)?,
            Wish::Link(_) => allowed(Role::Admin)?,
        }
        Ok(next)
    }

    /// It happened.
    fn apply(&mut self, who: usize, wish: &Wish) {
        let before: BTreeSet<usize> = self.current();
        let mut welcome = Vec::new();
        match wish {
            Wish::Create(members) => {
                self.created = Some(members.clone());
                self.settings = settings_at_first();
                self.title = "title".into();
                self.roles = members.iter().map(|at| (*at, Role::Member)).collect();
                self.roles.insert(0, Role::Owner);
            }
            Wish::Add(users) => {
                welcome.clone_from(users);
                self.roles.extend(users.iter().map(|at| (*at, Role::Member)));
            }
            Wish::Join(_) => {
                welcome = vec![who];
                self.roles.insert(who, Role::Member);
            }
            Wish::Link(link) => self.link = *link,
            Wish::Remove(users) => self.roles.extend(users.iter().map(|at| (*at, Role::None))),
            Wish::Leave => drop(self.roles.insert(who, Role::None)),
            Wish::Role(target, role) => {
                self.roles.insert(*target, *role);
                if *role == Role::Owner {
                    self.roles.insert(who, Role::Admin);
                }
            }
            Wish::Settings(settings, title) => (self.settings, self.title) = (*settings, title.clone()),
            Wish::Delete => {
                self.deleted = true;
                if !self.large {
                    self.roles.values_mut().for_each(|role| *role = Role::None);
                }
            }
            Wish::Text => {
                let seq = self.messages.len() as u64 + 1;
                self.texts.insert(seq);
                self.current().into_iter().for_each(|at| self.unread.entry(at).or_default().extend([seq]));
                self.unread.remove(&who);
            }
        }
        self.large |= self.current().len() > self.small_max;
        welcome.iter().for_each(|at| drop(self.unread.remove(at)));
        let told: BTreeSet<usize> = before.union(&self.current()).copied().collect();
        self.messages.push((told.clone(), told));
        if self.settings.history == HistoryFrom::Beginning {
            for user in welcome {
                self.messages.iter_mut().for_each(|(readers, _)| readers.extend([user]));
            }
        }
    }

    /// The last message that somebody may know of.
    fn reach(&self, who: usize) -> u64 {
        let told = self.messages.iter().rposition(|(_, told)| told.contains(&who));
        told.map_or(0, |at| at as u64 + 1)
    }

    fn told_last(&self, who: usize) -> bool {
        self.messages.last().is_some_and(|(_, told)| told.contains(&who))
    }

    fn current(&self) -> BTreeSet<usize> {
        self.roles.iter().filter(|(_, role)| **role != Role::None).map(|(at, _)| *at).collect()
    }
}

fn twice(users: &[usize]) -> bool {
    users.iter().collect::<BTreeSet<_>>().len() < users.len()
}

fn settings_at_first() -> GroupSettings {
    GroupSettings { add: Role::Member, history: HistoryFrom::Joining, ..GroupSettings::default() }
}

/// A small generator of numbers, so that a failure names its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn user(&mut self) -> usize {
        self.below(NAMES.len() as u64) as usize
    }

    fn users(&mut self) -> Vec<usize> {
        (0..self.below(4)).map(|_| self.user()).collect()
    }

    fn role(&mut self) -> Role {
        [Role::None, Role::Member, Role::Member, Role::Admin, Role::Admin, Role::Owner][self.below(6) as usize]
    }

    fn wish(&mut self) -> Wish {
        match self.below(20) {
            0 => Wish::Create(vec![1, 2, 3]),
            1 => Wish::Create(self.users()),
            2..6 => Wish::Add(self.users()),
            6..8 => Wish::Remove(self.users()),
            8 => Wish::Leave,
            9..12 => Wish::Role(self.user(), self.role()),
            12..14 => {
                let least = |random: &mut Self| [Role::Member, Role::Member, Role::Admin][random.below(3) as usize];
                let history = [HistoryFrom::Beginning, HistoryFrom::Joining][self.below(2) as usize];
                let (write, add, edit) = (least(self), least(self), least(self));
                Wish::Settings(GroupSettings { write, add, edit, history }, format!("title {}", self.below(9)))
            }
            14 if self.below(8) == 0 => Wish::Delete,
            15 => Wish::Link([None, Some(1), Some(2)][self.below(3) as usize]),
            16 | 17 => Wish::Join(1 + self.below(2) as u8),
            _ => Wish::Text,
        }
    }
}

struct Run {
    cluster: Cluster,
    group: ConversationId,
    devices: Vec<Device>,
    model: Model,
    /// The model, as far as it is committed.
    committed: Model,
    /// Numbers that each device must have been told of since it connected.
    told: Vec<BTreeSet<u64>>,
    /// What waits for the commit: who, and which number it gets.
    pending: Vec<(usize, u64)>,
    attempts: u64,
    connections: u64,
}

impl Run {
    fn new(reactors: u16, small_max: u32) -> Self {
        let model = Model { small_max: small_max as usize, ..Model::default() };
        let mut run = Self {
            cluster: Cluster::with(reactors, |config| NodeConfig { group_small_max: small_max, ..config }),
            group: ConversationId::group(user(NAMES[0]), &NONCE),
            devices: Vec::new(),
            model: model.clone(),
            committed: model,
            told: Vec::new(),
            pending: Vec::new(),
            attempts: 0,
            connections: 0,
        };
        run.connect();
        run
    }

    fn connect(&mut self) {
        self.devices.clear();
        for name in NAMES {
            self.connections += 1;
            self.devices.push(self.cluster.live(name, 1, self.connections));
        }
        // After a start homes are told again what they may not have: devices get lists, and messages from then on.
        for _ in 0..5 {
            self.cluster.later(0);
            self.cluster.commit();
        }
        self.devices.iter().for_each(|device| drop(self.cluster.take(*device)));
        self.told = vec![BTreeSet::new(); NAMES.len()];
    }

    fn wish(&mut self, who: usize, wish: &Wish) {
        let ids = |users: &[usize]| users.iter().map(|at| user(NAMES[*at]).0).collect::<Vec<_>>();
        let (mut body, named) = (
            Vec::new(),
            match wish {
                Wish::Create(users) | Wish::Add(users) | Wish::Remove(users) => ids(users),
                _ => Vec::new(),
            },
        );
        let users = Users::new(&named);
        let act = match wish {
            Wish::Create(_) => {
                GroupAct::Create { nonce: NONCE, settings: settings_at_first(), title: b"title", members: users }
            }
            Wish::Add(_) => GroupAct::Add(users),
            Wish::Remove(_) => GroupAct::Remove(users),
            Wish::Leave => GroupAct::Leave,
            Wish::Role(target, role) => GroupAct::Role(RoleBody { member: user(NAMES[*target]), role: *role }),
            Wish::Settings(settings, title) => GroupAct::Settings { settings: *settings, title: title.as_bytes() },
            Wish::Delete | Wish::Text => GroupAct::Delete,
            Wish::Link(link) => {
                let digest = link.map_or([0; 16], |link| digest_of_link(self.group, &[link; 16]));
                GroupAct::Link(LinkBody { digest })
            }
            Wish::Join(secret) => GroupAct::Join { secret: Some([*secret; 16]) },
        };
        let control = if matches!(wish, Wish::Text) { Control::TEXT } else { act.write(&mut body) };
        self.attempts += 1;
        let prev = self.model.last.get(&who).copied().unwrap_or(0);
        let attempt = Attempt { control, body: &body, ..Attempt::to(self.group, UserId::NONE, (self.attempts, prev)) };
        self.cluster.bytes(self.devices[who], &attempt.bytes());
        match self.model.expect(who, wish) {
            Err(code) => {
                let out = self.cluster.take(self.devices[who]);
                let error = out.all::<ErrorFrame>().first().map(|error| ErrorCode::from_u16(error.code).unwrap());
                assert_eq!(error, Some(code), "{who} wants {wish:?} of {:?}", self.model);
                assert_eq!(out.frames().len(), 1, "{:?} {:?}", out.kinds(), out.all::<ErrorFrame>());
            }
            Ok(seq) if seq <= self.model.messages.len() as u64 => {
                // Done before: answered at once. While that is not committed it may yet be undone, and whoever did it waits for the answer.
                let is_committed = seq <= self.committed.messages.len() as u64;
                if !is_committed {
                    assert_eq!(self.cluster.take(self.devices[who]).error().0, ErrorCode::Busy);
                }
                self.commit_with(is_committed.then_some((who, seq)));
            }
            Ok(seq) => {
                self.model.apply(who, wish);
                self.model.last.insert(who, self.attempts);
                self.pending.push((who, seq));
            }
        }
    }

    /// What waited is committed: the model says who hears of it.
    fn settle(&mut self) {
        for (_, seq) in self.pending.drain(..) {
            for at in &self.model.messages[seq as usize - 1].1 {
                self.told[*at].insert(seq);
            }
        }
        self.committed = self.model.clone();
    }

    fn commit(&mut self) {
        self.commit_with(None);
    }

    /// The commit, and one answer to a repeat.
    fn commit_with(&mut self, repeat: Option<(usize, u64)>) {
        self.cluster.commit();
        // In a large group messages are copied in the turns that follow.
        self.cluster.later(0);
        self.settle();
        for (at, name) in NAMES.iter().enumerate() {
            let out = self.cluster.take(self.devices[at]);
            for frame in out.frames().into_iter().filter(|frame| frame.kind() == Ok(Kind::Message)) {
                let message: Message = frame.fixed().unwrap();
                let is_join = message.control == control::JOIN;
                assert!(!is_join || frame.var(message.body) == Ok(&[][..]), "members are not told the secret");
            }
            let mut heard: Vec<u64> = out.all::<Message>().iter().map(|message| message.seq.0).collect();
            heard.extend(out.all::<Sent>().iter().map(|sent| sent.seq.0));
            heard.sort_unstable();
            let mut expected: Vec<u64> = self.told[at].iter().copied().collect();
            expected.extend(repeat.filter(|(who, _)| *who == at).map(|(_, seq)| seq));
            expected.sort_unstable();
            assert_eq!(heard, expected, "{name} {:?} in {:?} {}", out.kinds(), self.model, self.connections);
            self.told[at].clear();
        }
    }

    /// Somebody has read up to a message that is committed.
    fn read_upto(&mut self, who: usize, upto: u64) {
        let upto = upto.min(self.committed.reach(who));
        if upto == 0 {
            return;
        }
        if self.committed.large {
            self.cluster.later(GROUP_READ_MS);
            self.cluster.take(self.devices[who]);
        }
        let ordinal = self.model.texts.range(..=upto).count() as u64;
        let read = Read { conversation: self.group, upto: Seq(upto), ordinal };
        self.cluster.ask(self.devices[who], &read);
        assert!(self.cluster.take(self.devices[who]).all::<ErrorFrame>().is_empty());
        self.model.unread.entry(who).or_default().retain(|seq| *seq > upto);
    }

    fn drop_proposed(&mut self) {
        for Reactor { node, world, .. } in &mut self.cluster.reactors {
            node.at(self.cluster.now, world).drop_proposed();
        }
        self.cluster.deliver();
        for (who, _) in self.pending.drain(..) {
            self.cluster.take(self.devices[who]);
        }
        self.model = self.committed.clone();
    }

    fn evacuate(&mut self) {
        self.cluster.reactors.iter_mut().for_each(|reactor| reactor.node.start_evacuation(Generation(1)));
        self.cluster.later(0);
    }

    /// Every user reads exactly what it was there for, in pages of two, from either end; and knows who is who.
    fn check(&mut self) {
        for (at, name) in NAMES.iter().enumerate() {
            let readable = self.model.messages.iter().zip(1..).filter(|((readers, _), _)| readers.contains(&at));
            let readable: Vec<u64> = readable.map(|(_, seq)| seq).collect();
            for order in [FetchOrder::Upward, FetchOrder::Last] {
                assert_eq!(self.read(at, order), readable, "{name} {order:?} in {:?}", self.model);
            }
            self.check_description(at);
            self.check_unread(at);
        }
        let digests = self.cluster.digests();
        for (reactor, digests) in self.cluster.reactors.iter().zip(digests) {
            assert_eq!(reactor.replayed(0).digests().collect::<BTreeMap<_, _>>(), digests);
        }
    }

    fn read(&mut self, at: usize, order: FetchOrder) -> Vec<u64> {
        let (mut from, mut upto, mut read) = (1, 0, Vec::new());
        for _ in 0..200 {
            let (conversation, limit) = (self.group, 2);
            let fetch = Fetch { conversation, from: Seq(from), upto: Seq(upto), limit, order };
            self.cluster.ask(self.devices[at], &fetch);
            for _ in 0..4 {
                self.cluster.serve_reads();
            }
            let out = self.cluster.take(self.devices[at]);
            let Some(page) = out.all::<Fetched>().first().copied() else {
                assert_eq!(out.error().0, ErrorCode::NotMember);
                assert!(!self.model.is_or_was_member(at));
                return read;
            };
            read.extend(out.all::<Message>().iter().map(|message| message.seq.0));
            let more = match order {
                FetchOrder::Upward => {
                    from = page.upto.0 + 1;
                    from <= page.head.0
                }
                FetchOrder::Last => {
                    upto = page.from.0.saturating_sub(1);
                    upto > 0
                }
            };
            if !more {
                read.sort_unstable();
                return read;
            }
        }
        panic!("a FETCH that never ends");
    }

    fn check_unread(&mut self, at: usize) {
        let resume = Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 };
        self.cluster.ask(self.devices[at], &resume);
        // The heads of large groups come after the list.
        self.cluster.later(0);
        let out = self.cluster.take(self.devices[at]);
        let mut listed =
            out.frames().into_iter().filter(|frame| frame.kind() == Ok(Kind::Changed)).filter_map(|frame| {
                let changed: Changed = frame.fixed().unwrap();
                let of_group = frame.var(changed.entries).unwrap().chunks(changed.entry_len as usize).next()?;
                Some(tidings_wire::archive::read::<ChangedConversation>(of_group).unwrap())
            });
        let unread = listed.next_back().map(|listed| listed.ordinal - listed.seen);
        let expected =
            self.model.is_or_was_member(at).then(|| self.model.unread.get(&at).map_or(0, BTreeSet::len) as u64);
        assert_eq!(unread, expected, "{} in {:?}", NAMES[at], self.model);
    }

    fn check_description(&mut self, at: usize) {
        self.cluster.ask(self.devices[at], &Describe { conversation: self.group, from: 0, limit: 0, counted: Seq(0) });
        let out = self.cluster.take(self.devices[at]);
        let Some(described) = out.all::<Described>().first().copied() else {
            let knows = self.model.role(at) != Role::None || self.model.deleted && self.model.told_last(at);
            return assert!(!knows, "{:?}", out.error());
        };
        let frame = out.frames()[0];
        let entries = frame.var(described.entries).unwrap().chunks(described.entry_len as usize);
        let roles: BTreeMap<UserId, Role> = entries
            .map(|entry| tidings_wire::archive::read::<DescribedMember>(entry).unwrap())
            .map(|member| (member.user, member.role))
            .collect();
        let expected = self.model.roles.iter().map(|(at, role)| (user(NAMES[*at]), *role)).collect();
        assert_eq!(roles, expected);
        assert_eq!(frame.var(described.title).unwrap(), self.model.title.as_bytes());
        assert_eq!((described.settings, described.deleted > Seq(0)), (self.model.settings, self.model.deleted));
        assert_eq!(described.has_link, self.model.link.is_some());
    }
}

fn run(seed: u64, small_max: u32) {
    let mut random = Random(seed);
    let mut run = Run::new(1 + (seed % 3) as u16, small_max);
    run.wish(0, &Wish::Create(vec![1, 2, 3]));
    for _ in 0..120 {
        match random.below(10) {
            0 => run.drop_proposed(),
            1 => run.evacuate(),
            2 | 3 => run.commit(),
            4 if random.below(2) == 0 => {
                let (who, upto) = (random.user(), 1 + random.below(40));
                run.read_upto(who, upto);
            }
            4 if random.below(8) == 0 => {
                run.commit();
                run.check();
                run.cluster.restart();
                run.connect();
            }
            _ => {
                let (who, wish) = (random.user(), random.wish());
                run.wish(who, &wish);
            }
        }
    }
    run.commit();
    run.check();
}

#[test]
fn groups_are_as_the_model_says() {
    (0..40).for_each(|seed| run(seed, 200));
}

/// The same where three or four members make a group large: at once, or on the way.
#[test]
fn large_groups_are_as_the_model_says() {
    (0..40).for_each(|seed| run(seed, 3 + (seed % 2) as u32));
}
