//! Who is typing, who is there, and who is told; and devices at which nobody looks.

use tidings_core::limits::{EPHEMERAL_RATE, OFFLINE_AFTER_MS, PRESENCE_JITTER_MS, TYPING_TOKENS};
use tidings_testkit::{Cluster, Device, cluster::in_all_layouts, frames::Attempt, user};
use tidings_wire::{
    ConversationId, ErrorCode, Kind, Timestamp, UserId,
    frame::{FrameBuilder, Span},
    frames::{
        Activity, Bye, ByeReason, Changed, Doing, GroupAct, GroupSettings, PresenceState, Set, SetActivity, SettingKey,
        Typing, Users, Visibility, Watch, group::control,
    },
};

fn typing(conversation: ConversationId) -> Typing {
    Typing { conversation, user: UserId::NONE, doing: Doing::TYPING }
}

fn watch(users: &[UserId], conversation: ConversationId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Watch>::new(&mut bytes);
    let mut span = frame.var(&[]);
    users.iter().for_each(|user| span.len += frame.var(&user.0).len);
    frame.finish(4, &Watch { conversation, users: span });
    bytes
}

/// Who is told to be there, or not, and when it was last.
fn told(cluster: &mut Cluster, who: Device) -> Vec<(UserId, PresenceState, u64)> {
    let all = cluster.take(who).all::<tidings_wire::frames::Presence>();
    all.into_iter().map(|told| (told.user, told.state, told.last_seen.0)).collect()
}

/// Time in which whoever watches is told of everything.
fn settle(cluster: &mut Cluster) {
    cluster.later(0);
    cluster.later(OFFLINE_AFTER_MS);
    cluster.later(PRESENCE_JITTER_MS);
}

fn leave(cluster: &mut Cluster, who: Device) {
    cluster.ask(who, &Bye { reason: ByeReason::Done, retry_after_ms: 0 });
}

fn set_visibility(cluster: &mut Cluster, who: Device, visibility: Visibility) {
    let (conversation, key) = (ConversationId::NONE, SettingKey::VISIBILITY);
    cluster.ask(who, &Set::new(conversation, key, visibility as u64));
    cluster.commit();
    cluster.take(who);
}

/// A group that Alice makes with these.
fn group(cluster: &mut Cluster, alice: Device, settings: GroupSettings, names: &[&str]) -> ConversationId {
    let nonce = [3; 16];
    let conversation = ConversationId::group(alice.user, &nonce);
    let ids: Vec<_> = names.iter().map(|name| user(name).0).collect();
    let mut body = Vec::new();
    let _control = GroupAct::Create { nonce, settings, title: b"us", members: Users::new(&ids) }.write(&mut body);
    let attempt = Attempt { control: control::CREATE, body: &body, ..Attempt::to(conversation, UserId::NONE, (1, 0)) };
    cluster.bytes(alice, &attempt.bytes());
    cluster.commit();
    conversation
}

#[test]
fn who_types_is_heard_by_the_others_in_the_conversation_and_by_nobody_else() {
    in_all_layouts(|cluster, alice, bob| {
        let (tablet, carol) = (cluster.live("bob", 2, 3), cluster.live("carol", 1, 4));
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.ask(alice, &typing(conversation));
        assert!(cluster.take(bob).0.is_empty(), "there is no such conversation yet");
        cluster.send(alice, "bob", 1, 0, "x");
        cluster.commit();
        [alice, bob, tablet].into_iter().for_each(|who| drop(cluster.take(who)));

        cluster.ask(alice, &typing(conversation));
        let heard = Typing { user: alice.user, ..typing(conversation) };
        assert_eq!(cluster.take(bob).all::<Typing>(), [heard]);
        assert_eq!(cluster.take(tablet).all::<Typing>(), [heard]);
        assert!(cluster.take(alice).0.is_empty(), "it is not answered");
        cluster.ask(carol, &typing(conversation));
        assert!([alice, bob, carol].into_iter().all(|who| cluster.take(who).0.is_empty()));

        // In a group where only admins write nobody else is heard; nor is whoever was removed.
        let admins = GroupSettings { write: tidings_wire::frames::Role::Admin, ..GroupSettings::default() };
        let group = group(cluster, alice, admins, &["bob", "carol"]);
        [alice, bob, carol].into_iter().for_each(|who| drop(cluster.take(who)));
        cluster.ask(bob, &typing(group));
        assert!(cluster.take(carol).0.is_empty());
        cluster.ask(alice, &typing(group));
        assert_eq!(cluster.take(bob).all::<Typing>().len() + cluster.take(carol).all::<Typing>().len(), 2);
        let mut body = Vec::new();
        let _control = GroupAct::Remove(Users::new(&[carol.user.0])).write(&mut body);
        let attempt = Attempt { control: control::REMOVE, body: &body, ..Attempt::to(group, UserId::NONE, (2, 1)) };
        cluster.bytes(alice, &attempt.bytes());
        cluster.commit();
        [bob, carol].into_iter().for_each(|who| drop(cluster.take(who)));
        cluster.ask(alice, &typing(group));
        assert_eq!((cluster.take(bob).all::<Typing>().len(), cluster.take(carol).0.len()), (1, 0));
    });
}

#[test]
fn typing_a_thousand_times_a_second_is_refused_with_a_time() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "bob", 1, 0, "x");
        cluster.commit();
        [alice, bob].into_iter().for_each(|who| drop(cluster.take(who)));
        let conversation = ConversationId::direct(alice.user, bob.user);
        (0..1000).for_each(|_| cluster.ask(alice, &typing(conversation)));
        let most = EPHEMERAL_RATE.burst / TYPING_TOKENS;
        assert_eq!(cluster.take(bob).all::<Typing>().len(), most as usize);
        let (code, error) = cluster.take(alice).error();
        assert_eq!((code, error.of_kind, error.retry_after_ms), (ErrorCode::RateLimited, Kind::Typing as u8, 2000));
        cluster.later(2000);
        cluster.ask(alice, &typing(conversation));
        assert_eq!(cluster.take(bob).all::<Typing>().len(), 1);
    });
}

#[test]
fn who_watches_is_told_now_and_whenever_it_changes_until_the_lease_is_over() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.now.wall = Timestamp(1_700_000_000_500_000);
        cluster.bytes(alice, &watch(&[bob.user, user("dan")], ConversationId::NONE));
        let mut first = told(cluster, alice);
        first.sort_by_key(|(user, ..)| *user != bob.user);
        assert_eq!(first, [(bob.user, PresenceState::Online, 0), (user("dan"), PresenceState::Offline, 0)]);

        // A connection that is cut and comes back changes nothing.
        leave(cluster, bob);
        cluster.later(0);
        cluster.later(OFFLINE_AFTER_MS / 2);
        let bob = cluster.live("bob", 1, 7);
        settle(cluster);
        assert!(told(cluster, alice).is_empty());
        // Neither does another device.
        let tablet = cluster.live("bob", 2, 8);
        leave(cluster, bob);
        settle(cluster);
        assert!(told(cluster, alice).is_empty());
        // Nobody looks at the last one.
        cluster.ask(tablet, &SetActivity { activity: Activity::Inactive });
        settle(cluster);
        assert_eq!(told(cluster, alice), [(bob.user, PresenceState::Offline, 1_700_000_000_000_000)]);
        cluster.ask(tablet, &SetActivity { activity: Activity::Active });
        settle(cluster);
        assert_eq!(told(cluster, alice), [(bob.user, PresenceState::Online, 0)]);

        // After two minutes nobody is told any more, unless the lease was renewed.
        cluster.later(u64::from(Watch::LEASE_S - 10) * 1000);
        cluster.bytes(alice, &watch(&[bob.user], ConversationId::NONE));
        assert_eq!(told(cluster, alice), [(bob.user, PresenceState::Online, 0)]);
        cluster.later(11_000);
        leave(cluster, tablet);
        settle(cluster);
        assert_eq!(told(cluster, alice).len(), 1);
        cluster.later(u64::from(Watch::LEASE_S) * 1000);
        assert!(cluster.reactors.iter().all(|reactor| reactor.node.watchers() == 0));
        cluster.live("bob", 1, 9);
        settle(cluster);
        assert!(told(cluster, alice).is_empty());
    });
}

/// Sessions of different reactors have the same numbers: each watcher is told once all the same, however often it renews.
#[test]
fn who_renews_is_told_once() {
    in_all_layouts(|cluster, alice, bob| {
        let others = ["carol", "dan", "eve", "fay"].into_iter().zip(20..);
        let others: Vec<Device> = others.map(|(name, conn)| cluster.live(name, 1, conn)).collect();
        let watchers: Vec<Device> = others.into_iter().chain([alice]).collect();
        for _ in 0..3 {
            for who in &watchers {
                cluster.bytes(*who, &watch(&[bob.user], ConversationId::NONE));
                assert_eq!(told(cluster, *who).len(), 1);
            }
        }
        leave(cluster, bob);
        settle(cluster);
        watchers.iter().for_each(|who| assert_eq!(told(cluster, *who).len(), 1));
    });
}

#[test]
fn a_user_says_who_is_told_whether_it_is_there() {
    in_all_layouts(|cluster, alice, bob| {
        let carol = cluster.live("carol", 1, 4);
        cluster.send(bob, "alice", 1, 0, "x");
        cluster.send(carol, "bob", 1, 0, "x");
        cluster.commit();
        [alice, bob, carol].into_iter().for_each(|who| drop(cluster.take(who)));
        let ask = |cluster: &mut Cluster, who| {
            cluster.bytes(who, &watch(&[bob.user], ConversationId::NONE));
            told(cluster, who)
        };
        let (online, hidden) = ([(bob.user, PresenceState::Online, 0)], [(bob.user, PresenceState::Hidden, 0)]);
        assert_eq!((ask(cluster, alice), ask(cluster, carol)), (online.to_vec(), online.to_vec()));
        // Whoever watches is told at once.
        set_visibility(cluster, bob, Visibility::WrittenTo);
        assert_eq!((told(cluster, alice), told(cluster, carol)), (online.to_vec(), hidden.to_vec()));
        assert_eq!((ask(cluster, alice), ask(cluster, carol)), (online.to_vec(), hidden.to_vec()));
        set_visibility(cluster, bob, Visibility::Nobody);
        assert_eq!((told(cluster, alice), told(cluster, carol)), (hidden.to_vec(), Vec::new()));
        // It stays hidden when it changes, and after a restart.
        leave(cluster, bob);
        settle(cluster);
        assert!(told(cluster, alice).is_empty(), "not even that something changed");
        cluster.restart();
        let (alice, bob) = (cluster.live("alice", 1, 11), cluster.live("bob", 1, 12));
        (0..5).for_each(|_| {
            cluster.later(1000);
            cluster.commit();
        });
        [alice, bob].into_iter().for_each(|who| drop(cluster.take(who)));
        assert_eq!(ask(cluster, alice), hidden);
        set_visibility(cluster, bob, Visibility::WrittenTo);
        assert_eq!(told(cluster, alice), online, "it is known who was written to");
    });
}

#[test]
fn members_of_a_group_are_watched_by_its_name() {
    in_all_layouts(|cluster, alice, bob| {
        let (carol, dan) = (cluster.live("carol", 1, 4), cluster.live("dan", 1, 5));
        let group = group(cluster, alice, GroupSettings::default(), &["bob", "carol"]);
        [alice, bob, carol, dan].into_iter().for_each(|who| drop(cluster.take(who)));
        cluster.bytes(alice, &watch(&[], group));
        let mut users: Vec<_> = told(cluster, alice).into_iter().map(|(user, ..)| user).collect();
        users.sort_unstable();
        let mut members = [bob.user, carol.user];
        members.sort_unstable();
        assert_eq!(users, members);
        cluster.bytes(dan, &watch(&[], group));
        assert!(cluster.take(dan).0.is_empty(), "who is no member is not answered");
    });
}

#[test]
fn what_cannot_be_watched_is_refused() {
    in_all_layouts(|cluster, alice, bob| {
        let refused = |cluster: &mut Cluster, bytes: &[u8]| {
            cluster.bytes(alice, bytes);
            cluster.take(alice).error().0
        };
        let many: Vec<_> = (0..257).map(|at| user(&format!("user{at}"))).collect();
        assert_eq!(refused(cluster, &watch(&many, ConversationId::NONE)), ErrorCode::TooMany);
        assert_eq!(refused(cluster, &watch(&[alice.user], ConversationId::NONE)), ErrorCode::BadPeer);
        let stranger = UserId::derive("elsewhere", "bob");
        assert_eq!(refused(cluster, &watch(&[stranger], ConversationId::NONE)), ErrorCode::BadPeer);
        let direct = ConversationId::direct(alice.user, bob.user);
        assert_eq!(refused(cluster, &watch(&[], direct)), ErrorCode::NotMember);
        // Ten thousand subscriptions: what a device may ask for at once, and then as many as time brings.
        let asked: usize = (0..40)
            .map(|_| {
                cluster.bytes(alice, &watch(&many[..256], ConversationId::NONE));
                told(cluster, alice).len()
            })
            .sum();
        assert_eq!(asked, EPHEMERAL_RATE.burst as usize);
        cluster.bytes(alice, &watch(&many[..16], ConversationId::NONE));
        let (code, error) = cluster.take(alice).error();
        assert_eq!((code, error.retry_after_ms), (ErrorCode::RateLimited, 1000));
        let tablet = cluster.live("alice", 2, 9);
        cluster.bytes(tablet, &watch(&many[..16], ConversationId::NONE));
        assert_eq!(cluster.take(tablet).error().0, ErrorCode::RateLimited, "its devices have it together");
        let mut frame = Vec::new();
        let mut builder = FrameBuilder::<Watch>::new(&mut frame);
        let users = Span { len: 15, ..builder.var(&[0; 15]) };
        builder.finish(5, &Watch { conversation: ConversationId::NONE, users });
        assert_eq!(refused(cluster, &frame), ErrorCode::Malformed);
    });
}

#[test]
fn nobody_looks_at_a_device_it_gets_the_first_of_each_conversation_and_the_rest_when_somebody_does() {
    in_all_layouts(|cluster, alice, bob| {
        let carol = cluster.live("carol", 1, 4);
        cluster.ask(bob, &SetActivity { activity: Activity::Inactive });
        for id in 1..=5 {
            cluster.send(alice, "bob", id, id - 1, "from alice");
            cluster.send(carol, "bob", id, id - 1, "from carol");
            cluster.commit();
        }
        cluster.ask(alice, &typing(ConversationId::direct(alice.user, bob.user)));
        let rung = cluster.take(bob);
        assert_eq!(rung.kinds(), [Kind::Message, Kind::Message]);
        assert_eq!(rung.texts(), [(1, "from alice".into()), (1, "from carol".into())]);
        cluster.ask(bob, &SetActivity { activity: Activity::Active });
        let woken = cluster.take(bob);
        assert_eq!(woken.kinds(), [Kind::Changed]);
        assert_eq!(woken.all::<Changed>()[0].count, 2);
        cluster.send(alice, "bob", 6, 5, "again");
        cluster.commit();
        assert_eq!(cluster.take(bob).texts(), [(6, "again".into())]);
        // With nothing new, and all of it durable, there is nothing to list.
        (0..3).for_each(|_| {
            cluster.later(1000);
            cluster.commit();
        });
        cluster.take(bob);
        cluster.ask(bob, &SetActivity { activity: Activity::Inactive });
        cluster.ask(bob, &SetActivity { activity: Activity::Active });
        assert!(cluster.take(bob).all::<Changed>().iter().all(|changed| changed.count == 0));
    });
}

/// What is changed and not durable when nobody looks any more is told once somebody does.
#[test]
fn a_setting_that_becomes_durable_while_nobody_looks_is_listed() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "bob", 1, 0, "x");
        cluster.commit();
        let tablet = cluster.live("bob", 2, 7);
        (0..3).for_each(|_| {
            cluster.later(1000);
            cluster.commit();
        });
        [bob, tablet].into_iter().for_each(|who| drop(cluster.take(who)));
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.ask(bob, &Set::new(conversation, SettingKey::PINNED, 3));
        cluster.ask(tablet, &SetActivity { activity: Activity::Inactive });
        cluster.commit();
        assert!(cluster.take(tablet).0.is_empty());
        cluster.ask(tablet, &SetActivity { activity: Activity::Active });
        assert_eq!(cluster.take(tablet).all::<Changed>()[0].count, 1);
    });
}

/// What others do besides writing rings no bell, and uses none up; a message that comes without its text rings by the list.
#[test]
fn the_bell_is_for_what_people_want_to_know() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(bob, "alice", 1, 0, "mine");
        cluster.commit();
        cluster.take(bob);
        cluster.ask(bob, &SetActivity { activity: Activity::Inactive });
        let conversation = ConversationId::direct(alice.user, bob.user);
        let control = tidings_wire::frames::about::control::REACT;
        let reaction = Attempt { control, target: 1, payload: b"+", ..Attempt::to(conversation, UserId::NONE, (1, 0)) };
        cluster.bytes(alice, &reaction.bytes());
        cluster.commit();
        assert!(cluster.take(bob).0.is_empty());
        cluster.send(alice, "bob", 2, 1, "yours");
        cluster.commit();
        assert_eq!(cluster.take(bob).texts(), [(3, "yours".into())]);
    });
    let mut cluster = Cluster::new(2);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    cluster.ask(bob, &SetActivity { activity: Activity::Inactive });
    cluster.reactors.iter_mut().for_each(|reactor| reactor.world.home_credit = false);
    cluster.send(alice, "bob", 1, 0, "lost on its way");
    cluster.commit();
    cluster.reactors.iter_mut().for_each(|reactor| reactor.world.home_credit = true);
    for _ in 0..5 {
        cluster.later(1000);
        cluster.commit();
    }
    let told = cluster.take(bob);
    assert!([[Kind::Changed].as_slice(), &[Kind::Message]].contains(&told.kinds().as_slice()), "{:?}", told.kinds());
}
