//! Settings and devices: what is wanted is asked for until it is durable.

use tidings_client::{DeviceId, ErrorCode, Event, ReadReceipts};
use tidings_wire::{
    ConversationId, Seq, Timestamp,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::*,
};

use super::peer::*;

/// A setting that was not answered when the connection ended is asked for on the next, and only the last wish counts.
#[test]
fn a_setting_is_asked_for_until_it_is_durable() {
    let mut peer = Peer::live(super::config());
    (1..=3).for_each(|seq| peer.give(&message(0, seq)));
    peer.events();
    peer.session.hide(here());
    peer.session.set_read_receipts(ReadReceipts::Private);
    assert_eq!(peer.sent().all::<Set>().len(), 2);
    peer.session.disconnected(peer.now);
    let request = peer.connect_with(|sent| {
        let mut again: Vec<_> = sent.all::<Set>().into_iter().map(|(_, set)| (set.key, set.value)).collect();
        again.sort_unstable();
        assert_eq!(again, [(SettingKey::HIDDEN, 3), (SettingKey::READ_PRIVATE, 1)]);
    });
    peer.give(&changed(request, &[], 5, 0));
    peer.session.hide(here());
    let sets = peer.sent().all::<Set>();
    let (conversation, key) = (here(), SettingKey::HIDDEN);
    let hidden = |upto| Setting::new(conversation, key, upto);
    peer.give(&bytes_of(sets[0].0, &hidden(3)));
    assert!(!peer.session.settings_settled(), "one is still wanted");
    let is_hidden = |events: Vec<Event>| {
        let told = |event: &Event| if let Event::Conversation { hidden, .. } = event { Some(*hidden) } else { None };
        events.iter().rev().find_map(told)
    };
    assert_eq!(is_hidden(peer.events()), Some(true));
    peer.give(&bytes_of(0, &hidden(0)));
    assert_eq!(is_hidden(peer.events()), Some(false), "another device shows it");
    let none = ConversationId::NONE;
    let private = Setting::new(none, SettingKey::READ_PRIVATE, 1);
    peer.session.set_read_receipts(ReadReceipts::Private);
    let request = peer.sent().all::<Set>()[0].0;
    peer.give(&bytes_of(request, &private));
    assert!(peer.session.settings_settled());
    assert_eq!(peer.events(), [Event::ReadReceipts { receipts: ReadReceipts::Private }]);
    // What cannot be is told, and given up.
    peer.session.show(ConversationId([9; 16]));
    let request = peer.sent().all::<Set>()[0].0;
    peer.give(&bytes_of(request, &ErrorFrame::new(ErrorCode::NotMember, tidings_wire::Kind::Set as u8)));
    assert!(peer.session.settings_settled());
    let conversation = ConversationId([9; 16]);
    assert_eq!(peer.events(), [Event::SettingFailed { conversation, code: ErrorCode::NotMember }]);
}

#[test]
fn a_list_of_devices_has_their_names_and_a_refusal_says_why() {
    let mut peer = Peer::live(super::config());
    peer.session.devices();
    let request = peer.sent().all::<Devices>()[0].0;
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<DeviceList>::new(&mut bytes);
    let mut entries = frame.var(b"");
    for (device, flags, name_len) in [(1, 3, 5), (2, 0, 6)] {
        let device = DeviceId(device);
        let listed = ListedDevice { device, flags, since: Timestamp(1), seen: Timestamp(2), name_len };
        let mut entry = [0; ListedDevice::LEN];
        archive::write(&listed, &mut entry);
        entries.len += frame.var(&entry).len;
    }
    let names = frame.var(b"phonetablet");
    frame.finish(request, &DeviceList { count: 2, entry_len: ListedDevice::LEN as u32, entries, names });
    peer.give(&bytes);
    let Some(Event::Devices(devices)) = peer.events().pop() else { panic!("no list") };
    let told: Vec<_> = devices.iter().map(|device| (device.name.as_str(), device.connected, device.this)).collect();
    assert_eq!(told, [("phone", true, true), ("tablet", false, false)]);
    peer.session.revoke(DeviceId(9));
    let request = peer.sent().all::<Revoke>()[0].0;
    peer.give(&bytes_of(request, &ErrorFrame::new(ErrorCode::NoSuchDevice, tidings_wire::Kind::Revoke as u8)));
    assert_eq!(peer.events(), [Event::DevicesFailed { code: ErrorCode::NoSuchDevice }]);
}

/// Somebody may be blocked who never wrote: the server is told who it is, and other devices are told by SETTING or by a list.
#[test]
fn somebody_is_blocked_before_it_ever_wrote() {
    let mut peer = Peer::live(super::config());
    let bob = user("bob");
    peer.events();
    peer.session.block(bob);
    let (id, set) = peer.sent().all::<Set>()[0];
    assert_eq!(set, Set { conversation: here(), key: SettingKey::BLOCKED, value: 1, peer: bob });
    peer.give(&bytes_of(id, &Setting { conversation: here(), key: SettingKey::BLOCKED, value: 1, peer: bob }));
    assert!(peer.session.settings_settled());
    let blocked = |events: Vec<Event>| {
        let told = |event: &Event| match event {
            Event::Conversation { peer, preferences, .. } => Some((*peer, preferences.blocked)),
            _ => None,
        };
        events.iter().rev().find_map(told)
    };
    assert_eq!(blocked(peer.events()), Some((bob, true)));
    // Another device does: this one has not heard of the conversation.
    let carol = user("carol");
    let conversation = peer.session.conversation_with(carol);
    peer.give(&bytes_of(0, &Setting { conversation, key: SettingKey::BLOCKED, value: 1, peer: carol }));
    assert_eq!(blocked(peer.events()), Some((carol, true)));

    // What is withheld takes its number, does not count, and says nothing.
    peer.give(&message_with(0, 1, |message| {
        (message.flags, message.ordinal) = (MessageFlags(MessageFlags::WITHHELD), 0);
    }));
    let events = peer.events().into_iter().filter_map(|event| match event {
        Event::Message(message) => Some((message.seq.0, message.ordinal, message.is_withheld())),
        _ => None,
    });
    assert_eq!(events.collect::<Vec<_>>(), [(1, 0, true)]);
    assert_eq!(peer.session.unread(here()), 0);
    // What the other one is called is not forgotten for it.
    peer.give(&message(0, 2));
    peer.give(&message_with(0, 3, |message| {
        (message.flags, message.ordinal) = (MessageFlags(MessageFlags::WITHHELD), 1);
        message.sender_name = Default::default();
        message.clear_crc = Message::crc_of_clear(&[], &[]);
    }));
    peer.events();
    peer.session.mute(here(), Timestamp(1));
    let id = peer.sent().all::<Set>()[0].0;
    peer.give(&bytes_of(id, &Setting::new(here(), SettingKey::MUTED, 1)));
    let named = |event: Event| if let Event::Conversation { name, .. } = event { Some(name) } else { None };
    assert_eq!(peer.events().into_iter().find_map(named).as_deref(), Some("bob"));
}

/// Own texts that are withheld do not count, also where SENT answers a repeat and does not say so.
#[test]
fn withheld_texts_count_for_neither_and_nothing_goes_below_zero() {
    let mut peer = Peer::live(super::config());
    let bob = user("bob");
    let send = |peer: &mut Peer, text: &[u8]| {
        peer.session.send(bob, text);
        peer.sent().all::<Send>()[0]
    };
    let answer = |(request, send): (u64, Send), seq, ts| {
        let Send { conversation, client_msg_id, .. } = send;
        let (seq, ts, ordinal) = (Seq(seq), Timestamp(ts), 0);
        bytes_of(request, &tidings_wire::frames::Sent { conversation, client_msg_id, seq, ts, ordinal })
    };
    let first = send(&mut peer, b"one");
    peer.give(&answer(first, 1, 0)); // a repeat
    let second = send(&mut peer, b"two");
    peer.give(&answer(second, 2, 7));
    assert_eq!(peer.session.unread(here()), 0);
    // What the other one writes then is unread.
    peer.give(&message_with(0, 3, |message| message.ordinal = 1));
    assert_eq!(peer.session.unread(here()), 1);
}

/// What is to be forgotten is asked for until it is durable; a device that missed some of it asks for all.
#[test]
fn what_is_forgotten_is_asked_for_until_it_is_durable_and_what_was_missed_is_asked_for() {
    let mut peer = Peer::live(super::config());
    (1..=5).for_each(|seq| peer.give(&message(0, seq)));
    peer.events();
    let (conversation, one) = (here(), (Seq(2), Seq(3)));
    peer.session.forget(conversation, one.0, one.1);
    let asked = |peer: &mut Peer| peer.sent().all::<Forget>();
    assert_eq!(asked(&mut peer)[0].1, Forget { conversation, first: one.0, last: one.1 });
    peer.session.disconnected(peer.now);
    let mut again = 0;
    let request = peer.connect_with(|sent| again = sent.all::<Forget>()[0].0);
    peer.give(&changed(request, &[], 5, 0));
    let forgotten = |id, changes, ranges: &[(u64, u64)]| {
        let mut bytes = Vec::new();
        let mut frame = FrameBuilder::<Forgotten>::new(&mut bytes);
        let mut span = frame.var(&[]);
        for (first, last) in ranges {
            let mut range = [0; ForgottenRange::LEN];
            archive::write(&ForgottenRange { first: Seq(*first), last: Seq(*last) }, &mut range);
            span.len += frame.var(&range).len;
        }
        frame.finish(id, &Forgotten { conversation, changes, ranges: span });
        bytes
    };
    peer.events();
    peer.give(&forgotten(again, 1, &[(2, 3)]));
    assert!(peer.session.settings_settled());
    let told = |first, last| Event::Forgotten { conversation, first: Seq(first), last: Seq(last) };
    assert_eq!(peer.events(), [told(2, 3)]);
    // Another device did, and one that this one has not heard of before.
    peer.give(&forgotten(0, 3, &[(5, 5)]));
    assert_eq!(peer.events(), [told(5, 5)]);
    let (request, which) = asked(&mut peer)[0];
    assert_eq!(which, Forget { conversation, first: Seq(0), last: Seq(0) });
    peer.give(&forgotten(request, 3, &[(1, 3), (5, 5)]));
    assert_eq!(peer.events(), [told(1, 3), told(5, 5)]);
    peer.give(&forgotten(0, 4, &[(4, 4)]));
    assert!(asked(&mut peer).is_empty(), "it is the next");
    // One that is here and waits for one before it comes without what it says.
    peer.give(&message(0, 7));
    peer.give(&forgotten(0, 5, &[(7, 7)]));
    peer.give(&message(0, 6));
    let given = peer.events().into_iter().filter_map(|event| match event {
        Event::Message(message) => Some((message.seq.0, message.is_forgotten(), message.payload.is_empty())),
        _ => None,
    });
    assert_eq!(given.collect::<Vec<_>>(), [(6, false, false), (7, true, true)]);
    // So does one that the user wrote here, and forgot on another device before this one was told its number.
    peer.session.send(user("bob"), b"mine");
    let (request, send) = peer.sent().all::<Send>()[0];
    peer.give(&forgotten(0, 6, &[(8, 8)]));
    peer.give(&sent_as(request, &send, 8));
    let own = peer.events().into_iter().find_map(|event| match event {
        Event::Message(message) => Some((message.seq.0, message.is_forgotten(), message.payload.is_empty())),
        _ => None,
    });
    assert_eq!(own, Some((8, true, true)));
    // What cannot be is told, and given up.
    peer.session.forget(conversation, Seq(9), Seq(9));
    let request = asked(&mut peer)[0].0;
    peer.give(&bytes_of(request, &ErrorFrame::new(ErrorCode::FutureSeq, tidings_wire::Kind::Forget as u8)));
    assert!(peer.events().contains(&Event::ForgetFailed { conversation, code: ErrorCode::FutureSeq }));
    assert!(peer.session.settings_settled());
}
