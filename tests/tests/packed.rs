//! Payloads that travel compressed: between those who pack and those who do not, live, fetched and in groups; and what is not packed as it says.

use std::time::{Duration, Instant};

use tidings_client::{
    Config, Content, ConversationId, DEFAULT_TENANT, ErrorCode, Event, MessageFlags, Packing, UserId, blocking::Client,
};
use tidings_tests::{Serving, raw::Raw, serving::small};
use tidings_wire::{
    ClientMsgId, FrameBuilder, Kind, Seq, Timestamp,
    frames::{Control, Message, Send, Sent, TraceId, about},
    packed,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn user(name: &str) -> UserId {
    UserId::derive(DEFAULT_TENANT, name)
}

/// What comes to somebody next that says something.
fn next(client: &mut Client) -> tidings_client::Message {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match client.poll(Duration::from_millis(20)).unwrap() {
            Some(Event::Message(message)) if message.control == Control::TEXT => return message,
            _ => {}
        }
    }
    panic!("nothing came");
}

fn client(serving: &Serving, name: &str, device: u32, packing: Packing) -> Client {
    Client::new(serving.server().addr(), Config { packing, ..serving.client_config(name, device) })
}

#[test]
fn what_is_packed_is_read_by_everybody_and_kept_as_it_came() {
    let mut config = small();
    config.limits.group_small_max = 2;
    let serving = Serving::start(config);
    let dull = b"all work and no play ".repeat(1_000);
    let mut alice = client(&serving, "alice", 1, Packing::Yes);
    let (mut packs, mut plain) = (client(&serving, "bob", 1, Packing::Yes), client(&serving, "bob", 2, Packing::No));
    let mut own = client(&serving, "alice", 2, Packing::No);
    // Live, once all of them have resumed.
    for reader in [&mut packs, &mut plain, &mut own] {
        while reader.poll(Duration::from_millis(20)).unwrap() != Some(Event::Synced) {}
    }
    alice.session().post_to(user("bob"), Content::text(&dull).compressible());
    alice.session().post_to(user("bob"), Content::text(&dull));
    for reader in [&mut packs, &mut plain, &mut own] {
        for flags in [MessageFlags::COMPRESSIBLE, 0] {
            alice.poll(Duration::from_millis(20)).unwrap();
            let message = next(reader);
            assert_eq!((message.flags, message.payload == dull), (flags, true));
        }
    }
    // Fetched: over a restart too, by who comes late and by a client that knows nothing of it.
    let mut serving = serving;
    serving.restart();
    for packing in [Packing::Yes, Packing::No] {
        let mut late = client(&serving, "bob", 3, packing);
        assert!(next(&mut late).payload == dull && next(&mut late).payload == dull);
    }
    // In a large group, which has a way of its own.
    let mut alice = client(&serving, "alice", 1, Packing::Yes);
    let members = [user("bob"), user("carol"), user("dave")];
    let (group, _) =
        alice.session().create_group([7; 16], "dull", tidings_client::GroupSettings::default(), &members, b"");
    let mut readers = [client(&serving, "carol", 1, Packing::Yes), client(&serving, "dave", 1, Packing::No)];
    let is_in = |event: &Option<Event>| matches!(event, Some(Event::Message(message)) if message.conversation == group);
    for reader in &mut readers {
        let end = Instant::now() + PATIENCE;
        while !is_in(&reader.poll(Duration::from_millis(5)).unwrap()) {
            alice.poll(Duration::from_millis(5)).unwrap();
            assert!(Instant::now() < end, "nobody was taken in");
        }
    }
    alice.session().post(group, Content::text(&dull).compressible());
    for reader in &mut readers {
        alice.poll(Duration::from_millis(20)).unwrap();
        assert!(next(reader).payload == dull);
    }
}

/// A SEND of alice's to bob.
fn send(id: u64, prev: u64, (control, target): (Control, Seq), body: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Send>::new(&mut bytes);
    let (body_span, payload_span) = (frame.var(body), frame.var(payload));
    frame.finish(
        id,
        &Send {
            conversation: ConversationId::direct(user("alice"), user("bob")),
            peer: user("bob"),
            client_msg_id: ClientMsgId(id),
            prev: ClientMsgId(prev),
            expires_at: Timestamp(0),
            trace: TraceId::default(),
            flags: MessageFlags(MessageFlags::COMPRESSIBLE | MessageFlags::PACKED),
            payload_crc: Message::crc_of_content(body, payload),
            payload: payload_span,
            control,
            target,
            body: body_span,
        },
    );
    bytes
}

fn answer(raw: &mut Raw) -> Result<Seq, ErrorCode> {
    let received = raw.next().expect("an answer");
    match received.error() {
        Some((code, _)) => Err(code),
        None => Ok(received.fixed::<Sent>().seq),
    }
}

#[test]
fn what_is_not_packed_as_it_says_is_refused() {
    let serving = Serving::start(small());
    let mut alice = serving.session("alice", 1);
    let dull = b"all work and no play ".repeat(50);
    let good = packed::pack(&dull).unwrap();
    let text = (Control::TEXT, Seq(0));
    alice.write(&send(1, 0, text, b"", &good));
    assert_eq!(answer(&mut alice), Ok(Seq(1)));
    let with_len = |len: u32| [&len.to_le_bytes(), &good[4..]].concat();
    let zeros = packed::pack(&[0; 65_536]).unwrap();
    let clear = [1, 16, 0].iter().copied().chain(user("bob").0).collect::<Vec<u8>>();
    type Wrong<'a> = ((Control, Seq), &'a [u8], Vec<u8>);
    let wrong: [Wrong<'_>; 9] = [
        (text, b"", dull.clone()),
        (text, b"", Vec::new()),
        (text, b"", good[..good.len() - 1].to_vec()),
        (text, b"", with_len(dull.len() as u32 + 1)),
        (text, b"", with_len(dull.len() as u32 - 1)),
        (text, b"", with_len(u32::MAX)),
        // Together with its body it would be too long for somebody who does not unpack.
        (text, &clear, zeros.clone()),
        ((about::control::REACT, Seq(1)), b"", good.clone()),
        ((Control(14), Seq(0)), b"", good.clone()),
    ];
    for (at, (what, body, payload)) in wrong.into_iter().enumerate() {
        alice.write(&send(10 + at as u64, 1, what, body, &payload));
        assert_eq!(answer(&mut alice), Err(ErrorCode::PackedInvalid), "the {at}th");
    }
    alice.write(&send(30, 1, text, b"", &zeros));
    assert_eq!(answer(&mut alice), Ok(Seq(2)), "as much as a payload may be");
    alice.write(&send(31, 30, (about::control::EDIT, Seq(1)), b"", &good));
    assert_eq!(answer(&mut alice), Ok(Seq(3)));
    // Who does not say that it unpacks is told what it says.
    let mut bob = serving.session("bob", 1);
    bob.ask(
        1,
        &tidings_wire::frames::Fetch {
            conversation: ConversationId::direct(user("alice"), user("bob")),
            from: Seq(1),
            upto: Seq(0),
            limit: 10,
            order: tidings_wire::frames::FetchOrder::Upward,
        },
    );
    let mut sizes = Vec::new();
    while let Some(received) = bob.next().filter(|received| received.kind() == Kind::Message) {
        assert_eq!(received.fixed::<Message>().flags.0 & MessageFlags::PACKED, 0);
        sizes.push(received.size());
    }
    assert!(sizes.len() == 3 && sizes[0] > dull.len() && sizes[1] > 65_536 && sizes[2] > dull.len(), "{sizes:?}");
}
