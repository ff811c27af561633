//! The SDK against a server that says anything: it never panics, releases messages in order, and stays bounded.
#![no_main]

use std::{collections::BTreeMap, num::NonZeroU32};

use libfuzzer_sys::fuzz_target;
use tidings_client::{Config, ConversationId, Event, Seq, Session, Time};
use tidings_fuzz::Choices;
use tidings_wire::{
    DeviceId, Lineage, Timestamp, UserId,
    archive::{Archived, read},
    frame::{self, FixedPart, FrameBuilder, Span},
    frames::*,
};

/// A frame whose fixed part is made of the fuzzer's bytes, as far as they are valid.
fn any<T: FixedPart + Archived>(choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    let mut bytes = vec![0; T::LEN];
    let chosen = choices.bytes(T::LEN);
    bytes[..chosen.len()].copy_from_slice(chosen);
    if let Ok(part) = read::<T>(&bytes) {
        frame::append(out, choices.below(6), &part);
    }
}

fn message(choices: &mut Choices<'_>, me: UserId, out: &mut Vec<u8>) {
    let peer = UserId([choices.byte() % 3; 16]);
    let mut frame = FrameBuilder::<Message>::new(out);
    let (name, text) = (frame.var(b"peer"), *b"hello");
    let payload = frame.var(&text);
    frame.finish(
        choices.below(6),
        &Message {
            conversation: ConversationId::direct(me, peer),
            seq: Seq(choices.below(12)),
            ts: Timestamp(5),
            sender: if choices.byte() % 2 == 0 { peer } else { me },
            peer: if choices.byte() % 2 == 0 { me } else { peer },
            sender_device: DeviceId(1),
            flags: MessageFlags::default(),
            client_msg_id: tidings_client::ClientMsgId(choices.below(9)),
            expires_at: Timestamp(0),
            trace: TraceId::default(),
            payload_crc: crc32c::crc32c(&text),
            sender_name: name,
            payload,
            control: Control::TEXT,
            target: Seq(0),
            ordinal: 0,
            body: Span::default(),
            clear_crc: Message::crc_of_clear(b"peer", &[]),
        },
    );
}

fn welcome(me: UserId, choices: &mut Choices<'_>) -> Welcome {
    Welcome {
        version: 1,
        idle_timeout_s: choices.below(100) as u16,
        frame_max: 73_728,
        payload_max: 65_536,
        window: choices.below(70) as u32,
        user: me,
        device: DeviceId(1),
        lineage: Lineage([choices.byte() % 2 + 1; 16]),
        session: 1,
        server_time: Timestamp(1),
        redirect: Default::default(),
        token_until: Timestamp(0),
        // It may pack, and be told what is packed.
        capabilities: Welcome::UNPACKS,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut config = Config::new("alice", 1, b"token".to_vec());
    (config.wall_us, config.seed) = (100, 7);
    let me = config.user;
    let mut session = Session::new(config);
    let (mut now, mut last) = (Time(1), BTreeMap::<ConversationId, Seq>::new());
    let mut output = Vec::new();
    while !choices.is_empty() {
        let mut frames = Vec::new();
        match choices.byte() % 20 {
            0 => {
                now = now.plus_ms(choices.below(30_000));
                session.tick(now);
            }
            1 => {
                if session.wants_connection(now) {
                    session.connected(now);
                }
            }
            2 => session.disconnected(now),
            3 => frame::append(&mut frames, 1, &welcome(me, &mut choices)),
            4 => drop(session.send(UserId([choices.byte() % 3; 16]), b"hi")),
            5 => session.read(
                ConversationId::direct(me, UserId([choices.byte() % 3; 16])),
                Seq(choices.below(12)),
                choices.below(12),
            ),
            6 => session.history(
                ConversationId::direct(me, UserId([choices.byte() % 3; 16])),
                Seq(choices.below(12)),
                NonZeroU32::MIN.saturating_add(4),
            ),
            7 => drop(session.save()),
            8..=11 => message(&mut choices, me, &mut frames),
            12 => any::<Sent>(&mut choices, &mut frames),
            13 => any::<Fetched>(&mut choices, &mut frames),
            14 => any::<Receipt>(&mut choices, &mut frames),
            15 => any::<ReceiptOk>(&mut choices, &mut frames),
            16 => any::<Changed>(&mut choices, &mut frames),
            17 => any::<ErrorFrame>(&mut choices, &mut frames),
            18 => any::<Pong>(&mut choices, &mut frames),
            _ => frames.extend_from_slice(choices.bytes(40)),
        }
        let cut = choices.below(frames.len() as u64 + 1) as usize;
        session.received(&frames[..cut], now);
        session.received(&frames[cut..], now);
        session.take_output(&mut output);
        assert!(output.len() < 1 << 20, "what it says stays small");
        output.clear();
        while let Some(event) = session.poll_event() {
            match event {
                Event::Message(message) => {
                    let before = last.insert(message.conversation, message.seq);
                    assert!(before.is_none_or(|before| before.next() == message.seq), "{before:?}, {:?}", message.seq);
                }
                Event::Lost { conversation, upto, .. } => drop(last.insert(conversation, upto)),
                Event::LineageChanged => last.clear(),
                _ => {}
            }
        }
        if let Some(state) = session.save() {
            // What is saved is what the application was given: no more.
            for saved in &state.conversations {
                let given = last.get(&saved.id).copied().unwrap_or_default();
                assert!(saved.last == given || given == Seq(0), "{saved:?}, given {given:?}");
            }
        }
    }
});
