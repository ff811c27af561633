//! Whoever is blocked writes, and is answered, and is not told: nothing of what it writes is shown to who blocked it.

use tidings_core::limits::{OFFLINE_AFTER_MS, PRESENCE_JITTER_MS};
use tidings_testkit::{Cluster, Device, Reactor, frames::Attempt, in_all_layouts, user};
use tidings_wire::{
    ConversationId, ErrorCode, Generation, Kind, Lineage, Seq, UserId, Uv, archive,
    frame::FrameBuilder,
    frames::{
        Changed, ChangedConversation, Control, Delivered, Describe, Described, DescribedMember, Doing, ErrorFrame,
        Fetch, FetchOrder, Forget, GroupAct, GroupSettings, Message, MessageFlags, Presence, PresenceState, Read,
        Receipt, Resume, ResumeStatus, Sent, Set, Setting, SettingKey, Typing, Users, Visibility, Watch, about,
        group::control,
    },
};

fn blocks(who: Device, other: UserId, value: u64) -> Set {
    let conversation = ConversationId::direct(who.user, other);
    Set { conversation, key: SettingKey::BLOCKED, value, peer: other }
}

/// Somebody blocks somebody, or stops, and is told that it does.
fn block(cluster: &mut Cluster, who: Device, other: UserId, value: u64) {
    cluster.take(who);
    let set = blocks(who, other, value);
    cluster.ask(who, &set);
    assert!(cluster.take(who).0.is_empty(), "nothing leaves before the commit");
    settle(cluster);
    let Set { conversation, key, peer, .. } = set;
    assert_eq!(cluster.take(who).all::<Setting>(), [Setting { conversation, key, value, peer }]);
}

/// Everything that is due happens and becomes durable.
fn settle(cluster: &mut Cluster) {
    for _ in 0..5 {
        cluster.later(2_000);
        cluster.commit();
    }
}

/// A list of what changed, and bytes of one entry.
fn listed(cluster: &mut Cluster, device: Device) -> (Vec<ChangedConversation>, u32) {
    cluster.take(device);
    cluster.ask(device, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
    let out = cluster.take(device);
    let (frames, changed) = (out.frames(), out.all::<Changed>()[0]);
    let frame = frames.iter().find(|frame| frame.kind() == Ok(Kind::Changed)).unwrap();
    let entries = frame.var(changed.entries).unwrap().chunks(changed.entry_len as usize);
    (entries.map(|entry| archive::read(entry).unwrap()).collect(), changed.entry_len)
}

/// What a device is given: numbers, texts, and whether they are withheld.
fn given(cluster: &mut Cluster, device: Device) -> Vec<(u64, String, bool)> {
    let out = cluster.take(device);
    let read = |frame: &tidings_wire::Frame<'_>| {
        let message: Message = frame.fixed().unwrap();
        let text = String::from_utf8(frame.var(message.payload).unwrap().to_vec()).unwrap();
        let is_withheld = message.flags.0 & MessageFlags::WITHHELD != 0;
        if is_withheld {
            let Message { control, target, client_msg_id, .. } = message;
            assert_eq!((control, target, client_msg_id.0), (Control::TEXT, Seq(0), 0), "nothing of it is told");
            assert!(frame.var(message.sender_name).unwrap().is_empty() && frame.var(message.body).unwrap().is_empty());
            let both = MessageFlags::CONTROL | MessageFlags::EMPTIED;
            assert_eq!(message.flags.0 & both, both);
        }
        (message.seq.0, text, is_withheld)
    };
    out.frames().iter().filter(|frame| frame.kind() == Ok(Kind::Message)).map(read).collect()
}

fn fetched(cluster: &mut Cluster, device: Device, conversation: ConversationId) -> Vec<(u64, String, bool)> {
    cluster.take(device);
    let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
    cluster.ask(device, &fetch);
    cluster.serve_reads();
    given(cluster, device)
}

fn row(seq: u64, text: &str) -> (u64, String, bool) {
    (seq, text.into(), false)
}

fn withheld(seq: u64) -> (u64, String, bool) {
    (seq, String::new(), true)
}

fn delivered_as_described(cluster: &mut Cluster, to: Device, conversation: ConversationId) -> Vec<(UserId, u64, u64)> {
    cluster.take(to);
    cluster.ask(to, &Describe { conversation, from: 0, limit: 0, counted: Seq(0) });
    let out = cluster.take(to);
    let described = out.all::<Described>()[0];
    let frames = out.frames();
    let entries = frames[0].var(described.entries).unwrap().chunks(described.entry_len as usize);
    let read = |entry: &[u8]| {
        let member: DescribedMember = archive::read(entry).unwrap();
        (member.user, member.delivered.0, member.read.0)
    };
    entries.map(read).collect()
}

#[test]
fn what_the_blocked_write_is_numbered_and_withheld_and_they_are_shown_no_receipt() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        let (tablet, bobs) = (cluster.live("alice", 2, 5), cluster.live("bob", 2, 6));
        cluster.send(bob, "alice", 1, 0, "a");
        settle(cluster);
        cluster.ask(alice, &Delivered { conversation, upto: Seq(1) });
        settle(cluster);
        [alice, bob, tablet, bobs].into_iter().for_each(|who| drop(cluster.take(who)));

        block(cluster, alice, bob.user, 1);
        let told = Setting { conversation, key: SettingKey::BLOCKED, value: 1, peer: bob.user };
        assert_eq!(cluster.take(tablet).all::<Setting>(), [told]);
        assert!(cluster.take(bob).0.is_empty() && cluster.take(bobs).0.is_empty(), "the blocked is not told");

        cluster.send(bob, "alice", 2, 1, "b");
        let react = Attempt {
            control: about::control::REACT,
            target: 1,
            payload: b"!",
            ..Attempt::to(conversation, UserId::NONE, (3, 2))
        };
        cluster.bytes(bob, &react.bytes());
        settle(cluster);
        assert_eq!(cluster.take(bob).all::<Sent>().iter().map(|sent| sent.seq.0).collect::<Vec<_>>(), [2, 3]);
        for who in [alice, tablet] {
            assert_eq!(given(cluster, who), [withheld(2), withheld(3)]);
        }
        assert_eq!(given(cluster, bobs), [row(2, "b"), row(3, "!")], "its other devices have all of it");

        // However far Alice says that she is.
        cluster.ask(alice, &Delivered { conversation, upto: Seq(3) });
        cluster.ask(alice, &Read { conversation, upto: Seq(3), ordinal: 1 });
        settle(cluster);
        assert_eq!(cluster.take(bob).all::<Receipt>(), []);
        assert!(delivered_as_described(cluster, bob, conversation).contains(&(alice.user, 1, 0)));
        assert!(delivered_as_described(cluster, alice, conversation).contains(&(alice.user, 3, 3)));
        let (mut alice, mut bob) = (alice, bob);
        for _ in 0..2 {
            let (entries, len) = listed(cluster, bob);
            assert_eq!(len as usize, ChangedConversation::SHORT_LEN, "nor in how long a list is");
            assert_eq!((entries[0].peer_delivered, entries[0].peer_read, entries[0].blocked), (Seq(1), Seq(0), false));
            let entry = listed(cluster, alice).0[0];
            assert_eq!((entry.head, entry.ordinal, entry.seen, entry.blocked), (Seq(3), 1, 1, true));
            assert_eq!(fetched(cluster, alice, conversation), [row(1, "a"), withheld(2), withheld(3)]);
            assert_eq!(fetched(cluster, bob, conversation), [row(1, "a"), row(2, "b"), row(3, "!")]);
            cluster.restart();
            (alice, bob) = (cluster.live("alice", 1, 11), cluster.live("bob", 1, 12));
            settle(cluster);
        }
    });
}

#[test]
fn who_is_not_blocked_any_more_is_heard_from_then_on() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        block(cluster, alice, bob.user, 1);
        // It need not have begun; and the blocked knows of nothing.
        let entry = listed(cluster, alice).0[0];
        assert_eq!((entry.peer, entry.head, entry.blocked), (bob.user, Seq(0), true));
        assert_eq!(listed(cluster, bob).0, []);
        cluster.take(alice);
        cluster.ask(alice, &blocks(alice, bob.user, 1));
        assert_eq!(cluster.take(alice).all::<Setting>().len(), 1, "it is so already");
        cluster.send(bob, "alice", 1, 0, "a");
        settle(cluster);
        cluster.ask(alice, &Delivered { conversation, upto: Seq(1) });
        settle(cluster);
        block(cluster, alice, bob.user, 0);
        cluster.take(bob);
        cluster.send(bob, "alice", 2, 1, "b");
        settle(cluster);
        assert_eq!(given(cluster, alice), [row(2, "b")]);
        cluster.ask(alice, &Read { conversation, upto: Seq(2), ordinal: 1 });
        settle(cluster);
        let receipt = cluster.take(bob).all::<Receipt>().last().copied().unwrap();
        assert_eq!((receipt.delivered, receipt.read), (Seq(2), Seq(2)));
        assert_eq!(fetched(cluster, alice, conversation), [withheld(1), row(2, "b")], "what was withheld stays so");
        let entry = listed(cluster, alice).0[0];
        assert_eq!((entry.ordinal, entry.seen, entry.blocked), (1, 1, false));

        // Each for itself: the other way about it is another thing.
        block(cluster, bob, alice.user, 1);
        cluster.send(alice, "bob", 1, 0, "c");
        settle(cluster);
        assert_eq!(given(cluster, bob), [withheld(3)]);
        cluster.send(bob, "alice", 3, 2, "d");
        settle(cluster);
        assert_eq!(given(cluster, alice), [row(4, "d")]);
    });
}

#[test]
fn the_blocked_finds_out_nothing_where_nobody_has_written() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.send(bob, "carol", 1, 0, "x");
        settle(cluster);
        let resume = |cluster: &mut Cluster, uv| {
            cluster.take(bob);
            let (lineage, none) = (Lineage([7; 16]), Uv(0));
            cluster.ask(bob, &Resume { lineage, uv, below: none, page: 0, tails: 0, tail: 0 });
            cluster.take(bob).all::<Changed>()[0]
        };
        let before = resume(cluster, Uv(0)).uv;
        for value in [1, 0, 1] {
            block(cluster, alice, bob.user, value);
        }
        settle(cluster);
        let after = resume(cluster, before);
        assert_eq!((after.status, after.uv), (ResumeStatus::UpToDate, before), "no cursor rises");
        fn refused<T: tidings_wire::frame::FixedPart>(cluster: &mut Cluster, who: Device, part: &T) {
            cluster.ask(who, part);
            let errors = cluster.take(who).all::<ErrorFrame>();
            let codes: Vec<_> = errors.iter().map(|error| ErrorCode::from_u16(error.code)).collect();
            assert_eq!(codes, [Some(ErrorCode::NotMember)], "{:?}", T::KIND);
        }
        refused(cluster, bob, &Describe { conversation, from: 0, limit: 0, counted: Seq(0) });
        let order = FetchOrder::Upward;
        refused(cluster, bob, &Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order });
        refused(cluster, bob, &Read { conversation, upto: Seq(1), ordinal: 1 });
        refused(cluster, bob, &Delivered { conversation, upto: Seq(1) });
        refused(cluster, bob, &Set::new(conversation, SettingKey::BLOCKED, 1));
        refused(cluster, bob, &Set::new(conversation, SettingKey::MUTED, 0));
        refused(cluster, bob, &Forget { conversation, first: Seq(0), last: Seq(0) });
        refused(cluster, bob, &blocks(bob, alice.user, 0));
        refused(cluster, bob, &blocks(bob, user("dan"), 0));
        cluster.bytes(bob, &Attempt::to(conversation, UserId::NONE, (2, 0)).bytes());
        assert_eq!(cluster.take(bob).error().0, ErrorCode::NotMember);
        // For who blocks it is there.
        cluster.ask(alice, &Describe { conversation, from: 0, limit: 0, counted: Seq(0) });
        assert_eq!(cluster.take(alice).all::<Described>().len(), 1);
        // Rows alone say all of it, and so does what is told again.
        cluster.reactors.iter_mut().for_each(|reactor| reactor.node.start_evacuation(Generation(1)));
        settle(cluster);
        cluster.restart();
        let (alice, bob) = (cluster.live("alice", 1, 11), cluster.live("bob", 1, 12));
        settle(cluster);
        assert_eq!(listed(cluster, bob).0.len(), 1);
        assert!(listed(cluster, alice).0[0].blocked);
        cluster.take(alice);
        cluster.send(bob, "alice", 3, 0, "a");
        settle(cluster);
        assert_eq!(given(cluster, alice), [withheld(1)]);
    });
}

#[test]
fn a_block_that_is_dropped_is_none_and_who_asked_is_told() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(bob, "alice", 1, 0, "a");
        settle(cluster);
        cluster.take(alice);
        cluster.ask(alice, &blocks(alice, bob.user, 1));
        cluster.send(bob, "alice", 2, 1, "b");
        for at in 0..cluster.reactors.len() {
            let Reactor { node, world, .. } = &mut cluster.reactors[at];
            node.at(cluster.now, world).drop_proposed();
        }
        settle(cluster);
        assert_eq!(cluster.take(alice).error().0, ErrorCode::Busy);
        cluster.take(bob);
        cluster.send(bob, "alice", 2, 1, "b");
        settle(cluster);
        assert_eq!(given(cluster, alice), [row(2, "b")]);
        assert!(!listed(cluster, alice).0[0].blocked);
        block(cluster, alice, bob.user, 1);
    });
}

#[test]
fn a_timer_of_the_blocked_changes_nothing() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.send(bob, "alice", 1, 0, "a");
        settle(cluster);
        let timer = |cluster: &mut Cluster, who: Device, id: (u64, u64), seconds: u32| {
            let body = seconds.to_le_bytes();
            let to = Attempt::to(conversation, UserId::NONE, id);
            cluster.bytes(who, &Attempt { control: about::control::TIMER, body: &body, ..to }.bytes());
            settle(cluster);
        };
        timer(cluster, bob, (2, 1), 60);
        block(cluster, alice, bob.user, 1);
        timer(cluster, bob, (3, 2), 1);
        cluster.take(alice);
        cluster.ask(alice, &Describe { conversation, from: 0, limit: 0, counted: Seq(0) });
        assert_eq!(cluster.take(alice).all::<Described>()[0].timer, 60);
    });
}

#[test]
fn what_nobody_can_mean_is_refused() {
    in_all_layouts(|cluster, alice, bob| {
        let none = UserId::NONE;
        let refused = |cluster: &mut Cluster, set: Set| {
            cluster.ask(alice, &set);
            cluster.take(alice).error().0
        };
        let sound = blocks(alice, bob.user, 1);
        assert_eq!(refused(cluster, blocks(alice, alice.user, 1)), ErrorCode::BadPeer);
        assert_eq!(refused(cluster, Set { peer: none, ..sound }), ErrorCode::NotMember, "who is it?");
        assert_eq!(refused(cluster, Set { peer: user("carol"), ..sound }), ErrorCode::NotMember);
        assert_eq!(refused(cluster, Set { value: 2, ..sound }), ErrorCode::SettingInvalid);
        let group = ConversationId::group(alice.user, &[1; 16]);
        assert_eq!(refused(cluster, Set { conversation: group, ..sound }), ErrorCode::NotMember);
        let foreign = ConversationId::direct(bob.user, user("carol"));
        assert_eq!(refused(cluster, Set { conversation: foreign, peer: none, ..sound }), ErrorCode::NotMember);
        cluster.send(bob, "carol", 1, 0, "x");
        cluster.commit();
        assert_eq!(refused(cluster, Set { conversation: foreign, peer: none, ..sound }), ErrorCode::NotMember);
    });
}

#[test]
fn the_blocked_take_nobody_into_a_group_who_blocks_them() {
    in_all_layouts(|cluster, alice, bob| {
        block(cluster, alice, bob.user, 1);
        settle(cluster);
        let group = |cluster: &mut Cluster, who: Device, nonce: u8, names: &[&str]| {
            let nonce = [nonce; 16];
            let conversation = ConversationId::group(who.user, &nonce);
            let ids: Vec<_> = names.iter().map(|name| user(name).0).collect();
            let (mut body, members) = (Vec::new(), Users::new(&ids));
            let settings = GroupSettings::default();
            let _control = GroupAct::Create { nonce, settings, title: b"us", members }.write(&mut body);
            let to = Attempt::to(conversation, UserId::NONE, (1, 0));
            cluster.take(who);
            cluster.bytes(who, &Attempt { control: control::CREATE, body: &body, ..to }.bytes());
            settle(cluster);
            conversation
        };
        group(cluster, bob, 1, &["carol", "alice"]);
        assert_eq!(cluster.take(bob).error().0, ErrorCode::Blocked);
        let without = group(cluster, bob, 2, &["carol"]);
        assert_eq!(cluster.take(bob).all::<Sent>().len(), 1);
        let add = |cluster: &mut Cluster, id: (u64, u64), name: &str| {
            let (ids, mut body) = ([user(name).0], Vec::new());
            let _control = GroupAct::Add(Users::new(&ids)).write(&mut body);
            let to = Attempt::to(without, UserId::NONE, id);
            cluster.bytes(bob, &Attempt { control: control::ADD, body: &body, ..to }.bytes());
            settle(cluster);
        };
        add(cluster, (2, 1), "alice");
        assert_eq!(cluster.take(bob).error().0, ErrorCode::Blocked);
        // Who blocks somebody may take it in; and what was done is answered as it was, whoever blocks whom since.
        group(cluster, alice, 3, &["bob"]);
        assert_eq!(cluster.take(alice).all::<Sent>().len(), 1);
        block(cluster, alice, bob.user, 0);
        add(cluster, (3, 1), "alice");
        assert_eq!(cluster.take(bob).all::<Sent>().len(), 1);
        block(cluster, alice, bob.user, 1);
        settle(cluster);
        add(cluster, (3, 1), "alice");
        assert_eq!(cluster.take(bob).all::<Sent>()[0].seq, Seq(2));
    });
}

#[test]
fn who_blocks_and_who_is_blocked_hear_nothing_of_each_other() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.send(alice, "bob", 1, 0, "x");
        settle(cluster);
        let watch = |cluster: &mut Cluster| {
            let mut bytes = Vec::new();
            let mut frame = FrameBuilder::<Watch>::new(&mut bytes);
            let users = frame.var(&alice.user.0);
            frame.finish(4, &Watch { conversation: ConversationId::NONE, users });
            cluster.take(bob);
            cluster.bytes(bob, &bytes);
            cluster.later(0);
        };
        let states = |cluster: &mut Cluster| -> Vec<_> {
            cluster.take(bob).all::<Presence>().iter().map(|told| told.state).collect()
        };
        // Before it they do.
        let typing = Typing { conversation, user: UserId::NONE, doing: Doing::TYPING };
        for (one, other) in [(alice, bob), (bob, alice)] {
            cluster.take(other);
            cluster.ask(one, &typing);
            cluster.later(0);
            assert_eq!(cluster.take(other).all::<Typing>().len(), 1);
        }
        // From whom it is hidden anyhow learns nothing.
        let shows = |cluster: &mut Cluster, visibility: Visibility| {
            let (none, key) = (ConversationId::NONE, SettingKey::VISIBILITY);
            cluster.ask(alice, &Set::new(none, key, visibility as u64));
            settle(cluster);
        };
        shows(cluster, Visibility::Nobody);
        watch(cluster);
        assert_eq!(states(cluster), [PresenceState::Hidden]);
        block(cluster, alice, bob.user, 1);
        cluster.later(0);
        assert_eq!(states(cluster), []);
        block(cluster, alice, bob.user, 0);
        shows(cluster, Visibility::Everybody);

        watch(cluster);
        assert_eq!(states(cluster), [PresenceState::Online]);
        block(cluster, alice, bob.user, 1);
        cluster.later(0);
        assert_eq!(states(cluster), [PresenceState::Hidden], "at once");
        watch(cluster);
        assert_eq!(states(cluster), [PresenceState::Hidden]);
        for (one, other) in [(alice, bob), (bob, alice)] {
            cluster.ask(one, &typing);
            cluster.later(0);
            assert_eq!(cluster.take(other).all::<Typing>(), []);
        }
        // Nor that it leaves.
        cluster.ask(
            alice,
            &tidings_wire::frames::Bye { reason: tidings_wire::frames::ByeReason::Done, retry_after_ms: 0 },
        );
        cluster.later(0);
        cluster.later(OFFLINE_AFTER_MS);
        cluster.later(PRESENCE_JITTER_MS);
        assert_eq!(states(cluster), []);
    });
}
