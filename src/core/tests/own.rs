//! What a user keeps for itself: settings and devices. They are answered once durable, hold on all devices, and outlive a restart.

use tidings_core::{Bound, Renewal, Scope, node::Progress};
use tidings_testkit::{Cluster, Device, Reactor, frames::Attempt, in_all_layouts, names::hello_called, user};
use tidings_wire::{
    ConversationId, DeviceId, ErrorCode, Generation, Kind, Lineage, Seq, Timestamp, UserId, Uv, archive, frame,
    frames::*,
    limits::{DEVICES_MAX, FRAME_MAX},
    split,
};

const NOON: u64 = 1_000_000_000_000;

/// Ten minutes after noon, so that tokens of noon are old.
fn later_that_day(cluster: &mut Cluster) {
    cluster.now.wall = Timestamp(NOON + 600_000_000);
}

fn hello(token: &str, device: u32, name: &str) -> Vec<u8> {
    hello_called(token, device, 0, name)
}

/// A list of what changed: each conversation with its name, and the user's settings.
fn listed(cluster: &mut Cluster, device: Device) -> (Vec<(ChangedConversation, String)>, u32) {
    cluster.take(device);
    cluster.ask(device, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
    let out = cluster.take(device);
    let (frames, changed) = (out.frames(), out.all::<Changed>()[0]);
    let frame = frames.iter().find(|frame| frame.kind() == Ok(Kind::Changed)).unwrap();
    let mut names = frame.var(changed.names).unwrap();
    let entries = frame.var(changed.entries).unwrap().chunks(changed.entry_len as usize);
    let read = |entry: &[u8]| {
        let entry: ChangedConversation = archive::read(entry).unwrap();
        let name = names.split_off(..usize::from(entry.name_len)).unwrap();
        (entry, String::from_utf8(name.to_vec()).unwrap())
    };
    (entries.map(read).collect(), changed.settings)
}

/// Everything that is due happens and becomes durable.
fn settle(cluster: &mut Cluster) {
    cluster.later(2_000);
    cluster.commit();
}

fn devices(cluster: &mut Cluster, device: Device) -> Vec<(u32, u8, String)> {
    cluster.ask(device, &Devices::OWN);
    device_list(cluster, device).expect("a list")
}

fn device_list(cluster: &mut Cluster, device: Device) -> Option<Vec<(u32, u8, String)>> {
    let out = cluster.take(device);
    let list = out.all::<DeviceList>().first().copied()?;
    let frames = out.frames();
    let frame = frames.iter().find(|frame| frame.kind() == Ok(Kind::DeviceList)).unwrap();
    let mut names = frame.var(list.names).unwrap();
    let entries = frame.var(list.entries).unwrap().chunks(list.entry_len as usize);
    let read = |entry: &[u8]| {
        let entry: ListedDevice = archive::read(entry).unwrap();
        let name = names.split_off(..usize::from(entry.name_len)).unwrap();
        (entry.device.0, entry.flags, String::from_utf8(name.to_vec()).unwrap())
    };
    Some(entries.map(read).collect())
}

#[test]
fn what_is_read_in_private_is_shown_to_nobody_and_nobodys_to_whoever_does() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        for id in 1..=4 {
            cluster.send(alice, "bob", id, id - 1, "x");
        }
        cluster.commit();
        let read = |cluster: &mut Cluster, who: Device, upto| {
            cluster.ask(who, &Read { conversation, upto: Seq(upto), ordinal: upto });
            settle(cluster);
        };
        read(cluster, bob, 1);
        let last = |cluster: &mut Cluster, who| {
            let receipt = cluster.take(who).all::<Receipt>().last().copied();
            receipt.map(|receipt| (receipt.delivered.0, receipt.read.0))
        };
        assert_eq!(last(cluster, alice), Some((1, 1)));
        let set = |value| Set::new(ConversationId::NONE, SettingKey::READ_PRIVATE, value);
        let tablet = cluster.live("bob", 2, 5);
        cluster.take(bob);
        cluster.ask(bob, &set(1));
        assert!(cluster.take(bob).0.is_empty(), "nothing leaves before the commit");
        assert_eq!(listed(cluster, tablet).1, 0);
        cluster.commit();
        let setting = Setting::new(ConversationId::NONE, SettingKey::READ_PRIVATE, 1);
        assert_eq!(cluster.take(bob).all::<Setting>(), [setting]);
        assert_eq!(cluster.take(tablet).all::<Setting>(), [setting]);
        read(cluster, bob, 3);
        assert_eq!(last(cluster, alice), Some((3, 1)), "it has them, and who knows what it has read");
        assert_eq!(cluster.take(bob).all::<ReceiptOk>().last().unwrap().read, Seq(3), "who read knows");
        let entry = listed(cluster, alice).0[0].0;
        assert_eq!((entry.peer_delivered, entry.peer_read), (Seq(3), Seq(1)));

        // And the other way about.
        cluster.send(bob, "alice", 1, 0, "y");
        cluster.commit();
        read(cluster, alice, 5);
        assert_eq!(last(cluster, bob), Some((5, 0)));
        let entry = listed(cluster, tablet).0[0].0;
        assert_eq!((entry.peer_delivered, entry.peer_read, entry.read), (Seq(5), Seq(0), Seq(3)));

        // A restart forgets none of it; what is read after that openly is shown again.
        settle(cluster);
        cluster.restart();
        let (alice, bob) = (cluster.live("alice", 1, 11), cluster.live("bob", 1, 12));
        settle(cluster);
        assert_eq!(listed(cluster, bob).1, Changed::READ_PRIVATE);
        read(cluster, bob, 4);
        assert_eq!(listed(cluster, alice).0[0].0.peer_read, Seq(1));
        cluster.ask(bob, &set(0));
        cluster.commit();
        assert_eq!(listed(cluster, bob).0[0].0.peer_read, Seq(5));
        read(cluster, bob, 5);
        assert_eq!(listed(cluster, alice).0[0].0.peer_read, Seq(5));
    });
}

#[test]
fn a_hidden_conversation_is_hidden_on_all_devices_until_something_is_new_in_it() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.send(alice, "bob", 1, 0, "x");
        cluster.commit();
        let tablet = cluster.live("bob", 2, 5);
        let hide = |upto| Set::new(conversation, SettingKey::HIDDEN, upto);
        cluster.take(bob);
        cluster.ask(bob, &hide(2));
        assert_eq!(cluster.take(bob).error().0, ErrorCode::FutureSeq);
        let foreign = ConversationId::direct(alice.user, user("carol"));
        cluster.ask(bob, &Set::new(foreign, SettingKey::HIDDEN, 1));
        assert_eq!(cluster.take(bob).error().0, ErrorCode::NotMember);
        cluster.ask(bob, &Set::new(conversation, SettingKey(99), 1));
        assert_eq!(cluster.take(bob).error().0, ErrorCode::SettingInvalid);
        cluster.ask(bob, &hide(1));
        assert!(cluster.take(bob).0.is_empty(), "nothing leaves before the commit");
        cluster.commit();
        let setting = Setting::new(conversation, SettingKey::HIDDEN, 1);
        assert_eq!((cluster.take(bob).all(), cluster.take(tablet).all()), (vec![setting], vec![setting]));
        cluster.ask(bob, &hide(1));
        assert_eq!(cluster.take(bob).all::<Setting>(), [setting], "again, and it is durable already");
        cluster.restart();
        let (alice, bob) = (cluster.live("alice", 1, 11), cluster.live("bob", 1, 12));
        settle(cluster);
        let entry = listed(cluster, bob).0[0].0;
        assert!(entry.hidden == Seq(1) && entry.head <= entry.hidden);
        cluster.send(alice, "bob", 2, 1, "new");
        cluster.commit();
        let entry = listed(cluster, bob).0[0].0;
        assert!(entry.head > entry.hidden, "{entry:?}");
    });
}

/// Muted, put away, kept at the top, cleared: on all devices once durable, over restarts, and whatever others do. Lists are longer only where somebody wants
/// something.
#[test]
fn what_a_user_wants_of_a_conversation_holds_on_all_devices() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.send(alice, "bob", 1, 0, "one");
        cluster.send(alice, "bob", 2, 1, "two");
        cluster.commit();
        let tablet = cluster.live("bob", 2, 5);
        let entry_len = |cluster: &mut Cluster, device| {
            cluster.take(device);
            let resume = Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 };
            cluster.ask(device, &resume);
            cluster.take(device).all::<Changed>()[0].entry_len as usize
        };
        assert_eq!(entry_len(cluster, bob), ChangedConversation::SHORT_LEN);
        let set = |cluster: &mut Cluster, key, value, told| {
            cluster.take(bob);
            cluster.take(tablet);
            cluster.ask(bob, &Set::new(conversation, key, value));
            cluster.commit();
            let setting = Setting::new(conversation, key, told);
            assert_eq!((cluster.take(bob).all(), cluster.take(tablet).all()), (vec![setting], vec![setting]));
        };
        for (key, value) in [(SettingKey::MUTED, u64::MAX), (SettingKey::ARCHIVED, 1), (SettingKey::PINNED, 7)] {
            set(cluster, key, value, value);
        }
        set(cluster, SettingKey::CLEARED, 2, 2);
        set(cluster, SettingKey::CLEARED, 1, 2);
        for (key, value, code) in [
            (SettingKey::ARCHIVED, 2, ErrorCode::SettingInvalid),
            (SettingKey::CLEARED, 3, ErrorCode::FutureSeq),
            (SettingKey::READ_PRIVATE, 1, ErrorCode::SettingInvalid),
        ] {
            cluster.ask(bob, &Set::new(conversation, key, value));
            assert_eq!(cluster.take(bob).error().0, code, "{key:?}");
        }
        let check = |cluster: &mut Cluster, device| {
            let entry = listed(cluster, device).0[0].0;
            let ChangedConversation { muted_until, archived, pinned, cleared, hidden, .. } = entry;
            assert_eq!((muted_until, archived, pinned), (Timestamp(u64::MAX), true, 7));
            assert_eq!((cleared, hidden), (Seq(2), Seq(0)));
        };
        check(cluster, bob);
        // Others are not told, and what they do changes none of it.
        assert_eq!(entry_len(cluster, alice), ChangedConversation::SHORT_LEN);
        cluster.restart();
        let (alice, bob) = (cluster.live("alice", 1, 11), cluster.live("bob", 1, 12));
        settle(cluster);
        cluster.send(alice, "bob", 3, 2, "three");
        settle(cluster);
        check(cluster, bob);
        // Written again, and read from the rows alone.
        for reactor in &mut cluster.reactors {
            reactor.node.start_evacuation(Generation(1));
        }
        settle(cluster);
        cluster.restart();
        let bob = cluster.live("bob", 1, 13);
        settle(cluster);
        check(cluster, bob);
        for (key, value) in [(SettingKey::MUTED, 0), (SettingKey::ARCHIVED, 0), (SettingKey::PINNED, 0)] {
            cluster.ask(bob, &Set::new(conversation, key, value));
            cluster.commit();
        }
        let entry = listed(cluster, bob).0[0].0;
        assert_eq!((entry.muted_until, entry.archived, entry.pinned, entry.cleared), (Timestamp(0), false, 0, Seq(2)));
    });
}

#[test]
fn a_list_calls_conversations_by_their_names() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "bob", 1, 0, "x");
        let nonce = [3; 16];
        let group = ConversationId::group(alice.user, &nonce);
        let ids = [bob.user.0];
        let act = |cluster: &mut Cluster, id: u64, act: GroupAct<'_>| {
            let mut body = Vec::new();
            let control = act.write(&mut body);
            let attempt = Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (id, id - 1)) };
            cluster.bytes(alice, &attempt.bytes());
            cluster.commit();
        };
        let (settings, members) = (GroupSettings::default(), Users::new(&ids));
        act(cluster, 1, GroupAct::Create { nonce, settings, title: b"cats", members });
        let names = |cluster: &mut Cluster, device| {
            let mut names: Vec<String> = listed(cluster, device).0.into_iter().map(|(_, name)| name).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(cluster, bob), ["alice", "cats"]);
        assert_eq!(names(cluster, alice), ["", "cats"], "bob has never written");
        act(cluster, 2, GroupAct::Settings { settings, title: b"dogs" });
        settle(cluster);
        cluster.restart();
        let bob = cluster.live("bob", 1, 12);
        settle(cluster);
        assert_eq!(names(cluster, bob), ["alice", "dogs"]);
        // Who was removed is not told what it is called later, also when homes are told again what they may lack.
        let alice = cluster.live("alice", 1, 13);
        for (id, act) in
            [(3, GroupAct::Remove(Users::new(&ids))), (4, GroupAct::Settings { settings, title: b"no bob" })]
        {
            let mut body = Vec::new();
            let control = act.write(&mut body);
            let attempt = Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (id, id - 1)) };
            cluster.bytes(alice, &attempt.bytes());
            cluster.commit();
        }
        assert_eq!(names(cluster, alice), ["", "no bob"]);
        cluster.restart();
        let bob = cluster.live("bob", 1, 14);
        (0..3).for_each(|_| settle(cluster));
        assert_eq!(names(cluster, bob), ["alice", "dogs"]);
    });
}

#[test]
fn a_revoked_device_is_out_at_the_commit_and_never_comes_back() {
    for reactors in [1, 3] {
        let mut cluster = Cluster::new(reactors);
        cluster.now.wall = Timestamp(NOON);
        let old = format!("bob@{}", NOON - 1);
        let phone = cluster.enter(&hello(&old, 1, "phone"), 1).unwrap();
        let lost = cluster.enter(&hello(&old, 2, "old phone"), 2).unwrap();
        let guest = cluster.enter(&hello(&old, DeviceId::FIRST_GUEST, ""), 3).unwrap();
        let bound = format!("bob@{}#{}", NOON - 1, DeviceId::FIRST_GUEST + 1);
        let bound_guest = cluster.enter(&hello(&bound, DeviceId::FIRST_GUEST + 1, ""), 4).unwrap();
        settle(&mut cluster);
        let on = ListedDevice::CONNECTED;
        assert_eq!(
            devices(&mut cluster, phone),
            [
                (1, on | ListedDevice::THIS, "phone".into()),
                (2, on, "old phone".into()),
                (DeviceId::FIRST_GUEST, on, String::new()),
                (DeviceId::FIRST_GUEST + 1, on, String::new()),
            ]
        );
        later_that_day(&mut cluster);
        cluster.ask(phone, &Revoke::own(DeviceId(9)));
        assert_eq!(cluster.take(phone).error().0, ErrorCode::NoSuchDevice);
        cluster.ask(phone, &Revoke::own(DeviceId(2)));
        assert!(cluster.take(phone).0.is_empty() && cluster.take(lost).0.is_empty(), "nothing before the commit");
        cluster.commit();
        let left: Vec<u32> = device_list(&mut cluster, phone).unwrap().iter().map(|(device, ..)| *device).collect();
        assert_eq!(left, [1, DeviceId::FIRST_GUEST + 1], "the guest with the old token has gone, too");
        assert_eq!(cluster.take(lost).error().0, ErrorCode::DeviceRevoked);
        assert_eq!(cluster.take(guest).error().0, ErrorCode::TokenRevoked, "the same token in another place");
        assert!(cluster.take(bound_guest).0.is_empty(), "one that is good for one device only is not touched");
        // Under its own number it never comes back, nor under another with a token of before.
        let noon = cluster.now.wall.0;
        let mut conn = 10;
        let mut check = |cluster: &mut Cluster| {
            let mut try_in = |cluster: &mut Cluster, token: &str, device| {
                conn += 1;
                cluster.enter(&hello(token, device, ""), conn).map(drop)
            };
            let fresh = format!("bob@{}", noon + 1);
            assert_eq!(try_in(cluster, &old, 2), Err(ErrorCode::DeviceRevoked));
            assert_eq!(try_in(cluster, &fresh, 2), Err(ErrorCode::DeviceRevoked));
            assert_eq!(try_in(cluster, &old, 3), Err(ErrorCode::TokenRevoked));
            assert_eq!(try_in(cluster, &old, DeviceId::FIRST_GUEST), Err(ErrorCode::TokenRevoked));
            assert_eq!(try_in(cluster, &fresh, DeviceId::FIRST_GUEST), Ok(()));
            assert_eq!(try_in(cluster, &old, 1), Ok(()), "a device that was known");
            let others = format!("bob@{}", NOON - 2);
            assert_eq!(
                try_in(cluster, &others, 1),
                Err(ErrorCode::TokenRevoked),
                "under its number, with another token"
            );
        };
        check(&mut cluster);
        // What is written again before a segment is dropped says it, too.
        cluster.reactors.iter_mut().for_each(|reactor| reactor.node.start_evacuation(Generation(1)));
        for _ in 0..100 {
            cluster.later(10);
            cluster.commit();
        }
        assert!(cluster.reactors.iter().all(|reactor| reactor.node.evacuated() == Progress::Done));
        cluster.restart();
        check(&mut cluster);
    }
}

/// A token that a session was renewed with is its device's own: revoking another one does not end it, nor keep it out later.
#[test]
fn a_device_that_renewed_its_token_is_not_touched_by_a_revocation() {
    let mut cluster = Cluster::new(1);
    cluster.now.wall = Timestamp(NOON);
    let laptop = cluster.enter(&hello(&format!("bob@{}", NOON - 9), 1, "laptop"), 1).unwrap();
    let phone = cluster.enter(&hello(&format!("bob@{}", NOON - 8), 2, "phone"), 2).unwrap();
    let renewed = Renewal { until: None, issued: Timestamp(NOON - 1), bound: Bound::ToNone, scope: Scope::User };
    let mut bytes = Vec::new();
    frame::append(&mut bytes, 4, &Reauth { token: frame::Span::default() });
    let reauth = split(&bytes, FRAME_MAX).unwrap().unwrap();
    let Reactor { node, world, .. } = &mut cluster.reactors[laptop.at];
    node.at(cluster.now, world).reauthenticated(laptop.id, &reauth, Ok(renewed));
    assert_eq!(cluster.take(laptop).kinds(), [Kind::ReauthOk]);
    later_that_day(&mut cluster);
    cluster.ask(phone, &Revoke::own(DeviceId(2)));
    cluster.commit();
    assert_eq!(cluster.take(phone).error().0, ErrorCode::DeviceRevoked);
    assert!(cluster.take(laptop).0.is_empty(), "it stays");
    cluster.restart();
    assert!(cluster.enter(&hello(&format!("bob@{}", NOON - 1), 1, ""), 3).is_ok());
    // One of before the revocation that is not its own renews nothing.
    let laptop = cluster.enter(&hello(&format!("bob@{}", NOON - 1), 1, ""), 4).unwrap();
    let Reactor { node, world, .. } = &mut cluster.reactors[laptop.at];
    let foreign = Renewal { issued: Timestamp(NOON - 2), ..renewed };
    node.at(cluster.now, world).reauthenticated(laptop.id, &reauth, Ok(foreign));
    assert_eq!(cluster.take(laptop).error().0, ErrorCode::TokenRevoked);
}

#[test]
fn one_device_too_many_takes_the_place_of_the_one_that_was_not_used_for_longest() {
    let mut cluster = Cluster::new(1);
    cluster.now.wall = Timestamp(NOON);
    let (mut conn, mut here) = (1, Vec::new());
    let mut enter = |cluster: &mut Cluster, device: u32| {
        conn += 1;
        cluster.now.wall.0 += 2_000_000;
        cluster.now.mono.0 += 2_000_000_000;
        cluster.enter(&hello("bob", device, "x"), conn)
    };
    for device in 1..=DEVICES_MAX as u32 {
        here.push(enter(&mut cluster, device).unwrap());
    }
    assert_eq!(enter(&mut cluster, 900).map(drop), Err(ErrorCode::Full), "all of them are connected");
    for device in [4, 3] {
        let gone = here[device - 1];
        cluster.reactors[0].node.close_session(gone.id);
    }
    let new = enter(&mut cluster, 901).unwrap();
    settle(&mut cluster);
    let there = devices(&mut cluster, new);
    assert_eq!(there.len(), DEVICES_MAX);
    assert!(there.iter().all(|(device, ..)| *device != 3), "it connected before 4 did");
    assert_eq!(enter(&mut cluster, 3).map(drop), Err(ErrorCode::DeviceRevoked), "it is told");
    assert!(enter(&mut cluster, 4).is_ok());
}
