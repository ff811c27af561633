//! Settings and devices: what is wanted is asked for until it is durable.

use tidings_client::{DeviceId, ErrorCode, Event, ReadReceipts};
use tidings_wire::{
    ConversationId, Timestamp,
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
}
