//! Large groups: who is told what, and what it costs. What each member may do and read is in `groups.rs`, for groups of any size.

use std::collections::BTreeMap;

use tidings_core::{
    Counter, NodeConfig,
    limits::{COPIES_PER_TURN, GROUP_READ_MS, OUT_SOFT, RESUMES_PER_TURN, Rate},
};
use tidings_testkit::{Cluster, Device, Output, Reactor, frames::Attempt, user};
use tidings_wire::{
    ConversationId, ErrorCode, Kind, Lineage, Seq, UserId, Uv, archive,
    frames::*,
    limits::{LARGE_GROUPS_MAX, NAMED_MAX},
};

const LINEAGE: Lineage = Lineage([7; 16]);

/// A group of Ann and others, each with a device.
struct Group {
    cluster: Cluster,
    id: ConversationId,
    ann: Device,
    others: Vec<Device>,
    last: u64,
}

impl Group {
    /// Ann makes a group with so many others on so many reactors; it is large with more than three members.
    fn of(reactors: u16, others: usize) -> Self {
        Self::with(Cluster::with(reactors, small), others)
    }

    fn with(mut cluster: Cluster, others: usize) -> Self {
        let ann = cluster.live("ann", 1, 1);
        let others: Vec<Device> = (0..others).map(|at| cluster.live(&name(at), 1, 10 + at as u64)).collect();
        let id = ConversationId::group(ann.user, &[1; 16]);
        let mut group = Self { cluster, id, ann, others, last: 0 };
        let (first, rest) = group.others.split_at(group.others.len().min(NAMED_MAX));
        let ids = |devices: &[Device]| devices.iter().map(|device| device.user.0).collect::<Vec<_>>();
        let (first, rest) = (ids(first), ids(rest));
        let (nonce, settings, members) = ([1; 16], GroupSettings::default(), Users::new(&first));
        group.act(&GroupAct::Create { nonce, settings, title: b"town", members });
        for some in rest.chunks(NAMED_MAX) {
            group.act(&GroupAct::Add(Users::new(some)));
        }
        group.settle();
        group
    }

    /// Ann does something, which is committed.
    fn act(&mut self, act: &GroupAct<'_>) {
        let mut body = Vec::new();
        let control = act.write(&mut body);
        self.attempt(Attempt { control, body: &body, ..Attempt::to(self.id, UserId::NONE, (0, 0)) });
    }

    /// Ann writes something, which is committed.
    fn say(&mut self, text: &str) {
        self.attempt(Attempt { payload: text.as_bytes(), ..Attempt::to(self.id, UserId::NONE, (0, 0)) });
    }

    fn attempt(&mut self, attempt: Attempt<'_>) {
        let attempt = Attempt { id: (self.last + 1, self.last), ..attempt };
        self.last += 1;
        self.cluster.bytes(self.ann, &attempt.bytes());
        self.cluster.commit();
    }

    /// Everybody has everything, and it is read.
    fn settle(&mut self) {
        for _ in 0..5 {
            self.cluster.later(1000);
            self.cluster.commit();
        }
        self.take_all();
    }

    fn take_all(&mut self) -> Vec<Output> {
        self.cluster.take(self.ann);
        self.others.clone().into_iter().map(|device| self.cluster.take(device)).collect()
    }

    /// The reactor of the group.
    fn reactor(&mut self) -> &mut Reactor {
        let at = self.cluster.reactors[0].node.config().layout.conversation(&self.id).0;
        &mut self.cluster.reactors[at as usize]
    }

    fn count(&self, counter: Counter) -> u64 {
        self.cluster.reactors.iter().map(|reactor| reactor.node.counters.get(counter)).sum()
    }
}

fn small(config: NodeConfig) -> NodeConfig {
    NodeConfig { group_small_max: 3, entities_max: 20_000, ..config }
}

fn name(at: usize) -> String {
    format!("user{at}")
}

fn resume(uv: u64, tails: u16) -> Resume {
    Resume { lineage: LINEAGE, uv: Uv(uv), below: Uv(0), page: 0, tails, tail: 0 }
}

/// The conversations in all lists of an output, the last of each.
fn listed(out: &Output) -> BTreeMap<ConversationId, (ChangedConversation, String)> {
    let mut listed = BTreeMap::new();
    for frame in out.frames().into_iter().filter(|frame| frame.kind() == Ok(Kind::Changed)) {
        let changed: Changed = frame.fixed().unwrap();
        let mut names = frame.var(changed.names).unwrap();
        for entry in frame.var(changed.entries).unwrap().chunks(changed.entry_len as usize) {
            let entry: ChangedConversation = archive::read(entry).unwrap();
            let name = names.split_off(..usize::from(entry.name_len)).unwrap();
            listed.insert(entry.conversation, (entry, String::from_utf8(name.to_vec()).unwrap()));
        }
    }
    listed
}

fn heads(out: &Output) -> Vec<u64> {
    listed(out).values().map(|(entry, _)| entry.head.0).collect()
}

fn flags(out: &Output) -> Vec<u32> {
    out.all::<Message>().iter().map(|message| message.flags.0 & MessageFlags::LARGE).collect()
}

/// Messages of a large group change no home: who was away has nothing to catch up on but the head, which comes after the list.
#[test]
fn a_large_group_is_in_no_index_and_its_head_comes_after_the_list() {
    for reactors in [1, 2, 3] {
        let mut group = Group::of(reactors, 5);
        group.say("one");
        group.cluster.later(0);
        assert!(group.take_all().iter().all(|out| out.texts() == [(2, "one".into())] && flags(out) == [16]));
        group.settle();
        let tablet = group.cluster.connect("user0", 2, 90);
        group.cluster.ask(tablet, &resume(0, 0));
        let cursor = group.cluster.take(tablet).all::<Changed>()[0].uv;
        let records = |group: &Group| group.cluster.reactors.iter().map(Reactor::records).sum::<usize>();
        let before = records(&group);
        group.say("two");
        group.settle();
        let claims = group.cluster.reactors.len() * 64;
        assert!(records(&group) - before <= 1 + claims, "a message is one record, and homes write nothing down");
        for (tails, kinds) in [(0, vec![Kind::Changed]), (1, vec![Kind::Changed, Kind::SyncDone])] {
            group.cluster.take(tablet);
            group.cluster.ask(tablet, &resume(cursor.0, tails));
            let list = group.cluster.take(tablet);
            assert_eq!(list.all::<Changed>()[0].status, ResumeStatus::UpToDate);
            assert!(list.0.len() <= 100);
            (0..2).for_each(|_| group.cluster.later(0));
            let out = group.cluster.take(tablet);
            assert_eq!(out.kinds(), kinds);
            let (entry, title) = listed(&out)[&group.id].clone();
            assert_eq!((entry.head, entry.ordinal - entry.seen, &title[..]), (Seq(3), 2, "town"));
        }
    }
}

/// A message to many leaves a bounded number of connections in a turn, once each, and what others write does not wait for that.
#[test]
fn copies_are_spread_over_turns_and_nobody_waits_for_them() {
    let count = 3 * COPIES_PER_TURN / 2;
    let mut group = Group::of(1, count);
    let (zoe, yan) = (group.cluster.live("zoe", 1, 5000), group.cluster.live("yan", 1, 5001));
    group.say("hello");
    group.cluster.send(zoe, "yan", 1, 0, "hi");
    let mut copied = Vec::new();
    for turn in 0..4 {
        group.cluster.later(0);
        if turn == 0 {
            group.cluster.commit();
            assert_eq!(group.cluster.take(yan).texts(), [(1, "hi".into())]);
        }
        let texts: Vec<_> = group.take_all().iter().flat_map(Output::texts).collect();
        assert!(texts.iter().all(|text| *text == (2, "hello".into())));
        copied.push(texts.len());
    }
    // Ann's own device is one of them, which gets nothing.
    assert_eq!(copied, [COPIES_PER_TURN - 1, count + 1 - COPIES_PER_TURN, 0, 0]);
}

/// A lane without room for a message is made good by the head, once there is room.
#[test]
fn who_was_not_told_of_a_message_is_told_that_there_is_one() {
    let mut group = Group::of(2, 8);
    group.reactor().world.home_credit = false;
    group.say("unheard");
    group.say("neither");
    group.cluster.later(0);
    let before: usize = group.take_all().iter().map(|out| heads(out).len()).sum();
    assert_eq!((before, group.count(Counter::PostsOwed)), (0, 2));
    group.reactor().world.home_credit = true;
    (0..3).for_each(|_| group.cluster.later(0));
    let told: Vec<_> = group.take_all().iter().map(heads).filter(|heads| !heads.is_empty()).collect();
    assert!(!told.is_empty() && told.iter().all(|heads| *heads == [3]), "once, and the newest");
    group.say("heard");
    group.cluster.later(0);
    assert!(group.take_all().iter().all(|out| out.texts() == [(4, "heard".into())]));
}

/// The lane had no room for the news that somebody is removed, and has room for what is written afterwards.
#[test]
fn who_is_removed_hears_nothing_more_although_its_home_was_not_told() {
    let mut group = Group::of(2, 8);
    let own = group.cluster.reactors[0].node.config().layout.conversation(&group.id).0 as usize;
    let far: Vec<usize> = (0..8).filter(|at| group.others[*at].at != own).collect();
    assert!(far.len() >= 2);
    group.reactor().world.home_credit = false;
    group.act(&GroupAct::Remove(Users::new(&[group.others[far[0]].user.0])));
    group.reactor().world.home_credit = true;
    group.say("among us");
    group.cluster.later(0);
    (0..5).for_each(|_| group.cluster.later(1000));
    let out = group.take_all();
    assert!(far.iter().all(|at| out[*at].texts().is_empty()), "not before homes know who is a member");
    let heard: Vec<_> = far.iter().map(|at| heads(&out[*at]).into_iter().max()).collect();
    assert_eq!(heard[0], Some(2), "its last message is its removal");
    assert!(heard[1..].iter().all(|head| *head == Some(3)));
    group.say("again");
    group.cluster.later(0);
    let out = group.take_all();
    let told: Vec<_> = far.iter().map(|at| out[*at].texts().len()).collect();
    assert!(told[0] == 0 && told[1..].iter().all(|count| *count == 1));
}

/// DELIVERED is answered and not kept; READ is kept once in a while; and how many have read something is counted.
#[test]
fn receipts_are_counted_and_not_told() {
    let mut group = Group::of(2, 5);
    group.say("one");
    group.say("two");
    group.settle();
    let receipts = group.count(Counter::Receipts);
    let (bob, cat) = (group.others[0], group.others[1]);
    let read = |group: &mut Group, device: Device, upto: u64| {
        group.cluster.ask(device, &Read { conversation: group.id, upto: Seq(upto), ordinal: upto - 1 });
        group.cluster.later(0);
        group.cluster.commit();
        group.cluster.take(device)
    };
    let readers = |group: &mut Group, of: u64| {
        let (conversation, from, limit, counted) = (group.id, u32::MAX, 0, Seq(of));
        group.cluster.ask(group.ann, &Describe { conversation, from, limit, counted });
        let described = group.cluster.take(group.ann).all::<Described>()[0];
        assert_eq!((described.count, described.is_large, described.current), (0, true, 6));
        described.readers
    };
    group.cluster.ask(bob, &Delivered { conversation: group.id, upto: Seq(3) });
    assert_eq!(group.cluster.take(bob).all::<ReceiptOk>()[0].delivered, Seq(3));
    assert_eq!((group.count(Counter::Receipts), readers(&mut group, 3)), (receipts, 0));
    assert_eq!(read(&mut group, bob, 2).all::<ReceiptOk>()[0].read, Seq(2));
    let (code, error) = read(&mut group, bob, 3).error();
    assert_eq!((code, error.conversation, error.of_kind), (ErrorCode::RateLimited, group.id, Kind::Read as u8));
    assert!((1..=GROUP_READ_MS as u32).contains(&error.retry_after_ms));
    assert_eq!(read(&mut group, bob, 2).all::<ReceiptOk>()[0].read, Seq(2), "a repeat is answered");
    assert_eq!(read(&mut group, cat, 3).all::<ReceiptOk>()[0].read, Seq(3), "others may read meanwhile");
    assert_eq!((readers(&mut group, 1), readers(&mut group, 2), readers(&mut group, 3)), (2, 2, 1));
    group.cluster.later(GROUP_READ_MS);
    assert_eq!(read(&mut group, bob, 3).all::<ReceiptOk>()[0].read, Seq(3));
    assert_eq!((readers(&mut group, 3), readers(&mut group, 4)), (2, Described::NOT_COUNTED));
    assert_eq!(group.count(Counter::Receipts) - receipts, 3);
    let told: usize = group.take_all().iter().map(|out| out.all::<Receipt>().len()).sum();
    assert_eq!(told, 0);
    (0..300).for_each(|_| group.say("more"));
    assert_eq!(readers(&mut group, 3), Described::NOT_COUNTED, "only the newest are counted");
    assert_eq!(readers(&mut group, 303), 0);
}

#[test]
fn a_large_group_takes_so_many_messages_a_second() {
    let rate = Rate { per_second: 10, burst: 3 };
    let mut group = Group::with(Cluster::with(1, |config| NodeConfig { group_rate: rate, ..small(config) }), 5);
    (0..3).for_each(|_| group.say("in time"));
    assert!(group.cluster.take(group.ann).all::<ErrorFrame>().is_empty());
    group.say("too fast");
    let (code, error) = group.cluster.take(group.ann).error();
    assert_eq!((code, error.retry_after_ms), (ErrorCode::RateLimited, 100));
}

#[test]
fn one_message_names_so_many_and_no_more_and_a_client_makes_no_group_large() {
    let mut group = Group::of(1, 1);
    let ids: Vec<[u8; 16]> = (0..=NAMED_MAX).map(|at| user(&format!("guest{at}")).0).collect();
    group.act(&GroupAct::Add(Users::new(&ids)));
    assert_eq!(group.cluster.take(group.ann).error().0, ErrorCode::BodyInvalid);
    group.last -= 1;
    let flagged = MessageFlags(MessageFlags::LARGE);
    group.attempt(Attempt { flags: flagged, ..Attempt::to(group.id, UserId::NONE, (0, 0)) });
    assert_eq!(flags(&group.cluster.take(group.others[0])), [0]);
    group.act(&GroupAct::Add(Users::new(&ids[..NAMED_MAX])));
    assert_eq!(flags(&group.cluster.take(group.others[0])), [16], "by this message it is large");
}

/// Nothing can be done in a large group that was deleted, and everybody keeps what there was.
#[test]
fn a_large_group_that_is_deleted_is_read_and_nothing_else() {
    let mut group = Group::of(2, 5);
    group.say("kept");
    group.act(&GroupAct::Delete);
    group.settle();
    let last = group.last;
    for act in [GroupAct::Leave, GroupAct::Delete, GroupAct::Add(Users::new(&[[9; 16]]))] {
        group.act(&act);
        assert_eq!(group.cluster.take(group.ann).error().0, ErrorCode::Gone);
        group.last = last;
    }
    group.say("more");
    assert_eq!(group.cluster.take(group.ann).error().0, ErrorCode::Gone);
    let (bob, conversation) = (group.others[0], group.id);
    group.cluster.ask(bob, &Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward });
    (0..4).for_each(|_| group.cluster.serve_reads());
    assert_eq!(group.cluster.take(bob).all::<Message>().len(), 3);
}

/// The end of a group is learnt with the heads that one device asks for: the user's other devices, those that ask at the same time and those that
/// listened all the time, are told of it, too.
/// What a user has seen is told to a device that comes when the group is still large for it, and hears of its removal before it hears where the group is.
#[test]
fn who_is_removed_before_the_heads_come_is_told_what_it_has_seen() {
    for reactors in [1, 2, 3] {
        let mut group = Group::of(reactors, 4);
        (0..3).for_each(|_| group.say("text"));
        let (phone, conversation) = (group.others[0], group.id);
        group.settle();
        group.cluster.ask(phone, &Read { conversation, upto: Seq(4), ordinal: 3 });
        group.settle();
        let tablet = group.cluster.connect("user0", 2, 99);
        group.cluster.ask(tablet, &resume(0, 0));
        group.act(&GroupAct::Remove(Users::new(&[phone.user.0])));
        for _ in 0..5 {
            group.cluster.later(1000);
            group.cluster.commit();
        }
        let told = group.cluster.take(tablet);
        let ordinal = told.all::<Message>().last().map(|message| message.ordinal);
        let of_list = listed(&told).get(&conversation).map(|(entry, _)| entry.seen);
        let seen = told.all::<ReceiptOk>().iter().map(|told| told.seen).chain(of_list).max();
        assert_eq!((ordinal, seen), (Some(3), Some(3)), "on {reactors}: {:?}", told.kinds());
    }
}

#[test]
fn all_devices_of_a_user_are_told_that_a_group_was_deleted() {
    for reactors in [1, 2, 3] {
        let mut group = Group::of(reactors, 5);
        group.say("kept");
        group.settle();
        group.take_all();
        // Nobody is told of what comes now.
        group.reactor().world.home_credit = false;
        group.say("not told");
        group.act(&GroupAct::Delete);
        let last = group.last;
        let mut devices: Vec<Device> = (0..5).map(|at| group.others[at]).collect();
        for (at, number) in [(0, 90), (1, 91), (2, 92), (3, 93), (4, 94)] {
            for device in [2, 3] {
                let device = group.cluster.connect(&name(at), device, number + 10 * u64::from(device));
                group.cluster.ask(device, &resume(0, 0));
                devices.push(device);
            }
        }
        group.reactor().world.home_credit = true;
        let mut told = vec![0; devices.len()];
        for _ in 0..6 {
            group.cluster.later(0);
            for (device, told) in devices.iter().zip(&mut told) {
                let out = group.cluster.take(*device);
                let seen = out.all::<Message>().iter().map(|message| message.seq.0).max();
                *told = heads(&out).into_iter().chain(seen).chain([*told]).max().unwrap_or(0);
            }
        }
        assert_eq!(told, vec![last; devices.len()], "{reactors}");
    }
}

/// A text that comes while homes are told again who was removed does not make them pass over that.
#[test]
fn a_removal_that_a_text_overtakes_is_told_all_the_same() {
    let mut group = Group::of(2, 8);
    let own = group.cluster.reactors[0].node.config().layout.conversation(&group.id).0 as usize;
    let gone = group.others.iter().copied().find(|device| device.at != own).expect("there are eight");
    group.reactor().world.home_credit = false;
    group.act(&GroupAct::Remove(Users::new(&[gone.user.0])));
    // The walk begins, and waits for room at its first step; the text is of a later entry.
    group.cluster.later(0);
    group.say("meanwhile");
    group.reactor().world.home_credit = true;
    (0..6).for_each(|_| group.cluster.later(1000));
    let told = heads(&group.cluster.take(gone));
    assert_eq!(told.iter().max(), Some(&2));
    group.say("among us");
    group.cluster.later(0);
    assert!(group.cluster.take(gone).texts().is_empty());
}

/// A large group that was deleted is like any other conversation in lists, and takes no place among those that are asked for.
#[test]
fn a_deleted_group_is_asked_for_once_and_listed_from_then_on() {
    let mut group = Group::of(2, 5);
    group.say("kept");
    group.act(&GroupAct::Delete);
    group.settle();
    let tablet = group.cluster.connect("user0", 2, 90);
    for lists in [2, 1] {
        group.cluster.ask(tablet, &resume(0, 0));
        (0..2).for_each(|_| group.cluster.later(1000));
        let out = group.cluster.take(tablet);
        assert_eq!((out.all::<Changed>().len(), heads(&out)), (lists, vec![3]));
    }
}

/// RESUME in a loop asks each reactor once at a time, whatever the loop's length; of those that one turn does not answer, once a turn.
#[test]
fn a_resume_in_a_loop_is_answered_with_heads_once() {
    let mut group = Group::of(2, 5);
    let bob = group.others[0];
    (0..50).for_each(|_| group.cluster.ask(bob, &resume(0, 1)));
    (0..3).for_each(|_| group.cluster.later(0));
    let out = group.cluster.take(bob);
    assert_eq!(out.all::<SyncDone>().len(), 50);
    assert_eq!(out.all::<Changed>().len(), 50 + 50_usize.div_ceil(RESUMES_PER_TURN));
}

/// Whoever is over its own budget, or an admin, takes nothing from what members may write together.
#[test]
fn the_rate_of_a_group_is_for_what_is_written_there() {
    let rate = Rate { per_second: 1, burst: 2 };
    let mut group = Group::with(Cluster::with(1, |config| NodeConfig { group_rate: rate, ..small(config) }), 5);
    (0..2).for_each(|_| group.say("in time"));
    group.cluster.take(group.ann);
    group.act(&GroupAct::Remove(Users::new(&[group.others[0].user.0])));
    assert_eq!(group.cluster.take(group.ann).kinds(), [Kind::Sent], "an admin can act");
    group.say("too fast");
    assert_eq!(group.cluster.take(group.ann).error().0, ErrorCode::RateLimited);
}

/// A device that does not read costs bounded memory; when it reads again it is told how far the group is.
#[test]
fn a_slow_device_of_a_large_group_is_told_the_head_when_it_reads_again() {
    let mut group = Group::of(2, 5);
    let text = "x".repeat(60_000);
    for _ in 0..10 {
        group.say(&text);
        group.cluster.later(0);
        group.cluster.take(group.ann);
    }
    let bob = group.others[0];
    let out = group.cluster.take(bob);
    let got = out.texts().len();
    assert!(out.0.len() <= OUT_SOFT && (1..10).contains(&got));
    let Reactor { node, world, .. } = &mut group.cluster.reactors[bob.at];
    node.at(group.cluster.now, world).output_gone(bob.id);
    (0..2).for_each(|_| group.cluster.later(0));
    assert_eq!(heads(&group.cluster.take(bob)), [11]);
    group.say("live again");
    group.cluster.later(0);
    assert_eq!(group.cluster.take(bob).texts(), [(12, "live again".into())]);
}

/// Who is in very many large groups is told of the first: whoever adds it to others takes nothing from it.
#[test]
fn a_user_is_told_of_so_many_large_groups_and_no_more() {
    let mut cluster = Cluster::with(1, small);
    let (ann, bob) = (cluster.live("ann", 1, 1), cluster.live("bob", 1, 2));
    let ids = [bob.user.0, user("cat").0, user("dan").0];
    let count = LARGE_GROUPS_MAX + 20;
    for at in 0..count {
        let nonce = (at as u128).to_le_bytes();
        let (settings, members) = (GroupSettings::default(), Users::new(&ids));
        let mut body = Vec::new();
        let control = GroupAct::Create { nonce, settings, title: b"", members }.write(&mut body);
        let group = ConversationId::group(ann.user, &nonce);
        cluster.bytes(ann, &Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (1, 0)) }.bytes());
        cluster.commit();
    }
    let tablet = cluster.connect("bob", 2, 3);
    cluster.ask(tablet, &resume(0, 0));
    cluster.take(tablet);
    (0..10).for_each(|_| cluster.later(0));
    let listed = listed(&cluster.take(tablet));
    assert_eq!(listed.len(), LARGE_GROUPS_MAX);
    let has = |at: usize| listed.contains_key(&ConversationId::group(ann.user, &(at as u128).to_le_bytes()));
    assert!((0..LARGE_GROUPS_MAX).all(has) && !has(LARGE_GROUPS_MAX));
}
