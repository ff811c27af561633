//! Instructions of a window of messages, stage by stage, under callgrind: the same on any machine with the same compiler.
//! Limits are a twentieth above what was counted; whoever makes a stage cheaper lowers its limit, too.
#![allow(missing_docs, reason = "the macros make items without any")]

use std::hint::black_box;

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use tidings_gates::{Chat, MESSAGES, sends};
use tidings_log::{RecordMeta, Scope, Solo, format::LogKey};
use tidings_testkit::{
    Memory,
    store::{Store, log_config, tail_of},
};
use tidings_wire::{
    LogId, Term,
    frame::{self, FrameBuilder, Span},
    frames::{Message, Send, Sent},
    limits, split,
};

/// Instructions that a window of messages may take.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

fn window_of_1k() -> Vec<u8> {
    sends(1024, 0)
}

// Frames cut out of a stretch of received bytes, and their parts found: nothing of the payload is touched.
#[library_benchmark(config = at_most(14_000))]
#[bench::window_of_1k(setup = window_of_1k)]
fn decode(bytes: Vec<u8>) -> usize {
    let (mut rest, mut seen) = (&bytes[..], 0);
    while let Ok(Some(frame)) = split(rest, limits::FRAME_MAX) {
        rest = &rest[frame.bytes().len()..];
        let send: Send = frame.fixed().expect("a SEND");
        seen += black_box(frame.var(send.payload).expect("inside")).len();
    }
    seen
}

fn ready_to_receive() -> (Chat, Vec<u8>) {
    let mut chat = Chat::warm(1024);
    let bytes = chat.next_sends(1024);
    (chat, bytes)
}

// A turn in which the same window comes: cut, checked, sequenced, appended, and the batch sealed with its checksum.
#[library_benchmark(config = at_most(277_400))]
#[bench::window_of_1k(setup = ready_to_receive)]
fn receive((mut chat, bytes): (Chat, Vec<u8>)) -> Chat {
    chat.receive(black_box(bytes));
    chat
}

fn ready_to_deliver() -> Chat {
    let (mut chat, bytes) = ready_to_receive();
    chat.receive(bytes);
    chat
}

// The turn in which the batch is durable: applied, and SENT and MESSAGE handed to the network.
#[library_benchmark(config = at_most(175_300))]
#[bench::window_of_1k(setup = ready_to_deliver)]
fn deliver(mut chat: Chat) -> Chat {
    chat.step();
    chat
}

fn warm() -> (Store, Solo, Vec<u8>) {
    let (disk, key, segment_len) = (Memory::default(), LogKey { log: LogId(0), nonce: 1 }, 4 << 20);
    let mut store = Store::open(disk.clone(), log_config(key, 1, segment_len, 2 << 20), tail_of(&disk, key));
    let (mut replica, payload) = (Solo::new(8, Term(1)), vec![7; 1024]);
    // Until buffers have their size.
    for _ in 0..2 {
        append_window(&mut store, &payload);
        let write = store.seal(&mut replica);
        store.land(write);
        let sealed = store.log.take_durable().expect("it is written");
        store.log.recycle(sealed);
    }
    (store, replica, payload)
}

fn append_window(store: &mut Store, payload: &[u8]) {
    for ts in 0..MESSAGES {
        let meta = RecordMeta { kind: 16, version: 1, scope: Scope::Entry, shard: 3, ts };
        store.log.append(meta, |body| body.extend_from_slice(payload));
    }
}

// Records of a kilobyte appended to the log, and the batch sealed.
#[library_benchmark(config = at_most(57_000))]
#[bench::window_of_1k(setup = warm)]
fn append((mut store, mut replica, payload): (Store, Solo, Vec<u8>)) -> (Store, Solo) {
    append_window(&mut store, &payload);
    black_box(store.log.seal(&mut replica));
    (store, replica)
}

fn output() -> (Vec<u8>, Vec<u8>, Send) {
    let template = sends(8, 0);
    let first = split(&template, limits::FRAME_MAX).expect("just built").expect("whole");
    (Vec::with_capacity(256 << 10), vec![7; 1024], first.fixed().expect("a SEND"))
}

// A window of SENT and MESSAGE frames.
#[library_benchmark(config = at_most(45_700))]
#[bench::window_of_1k(setup = output)]
fn encode((mut out, payload, send): (Vec<u8>, Vec<u8>, Send)) -> Vec<u8> {
    for id in 1..=MESSAGES {
        let (conversation, client_msg_id) = (send.conversation, tidings_wire::ClientMsgId(id));
        let (seq, ts) = (tidings_wire::Seq(id), tidings_wire::Timestamp(id));
        frame::append(&mut out, id, &Sent { conversation, client_msg_id, seq, ts, ordinal: seq.0 });
        let mut message = FrameBuilder::<Message>::new(&mut out);
        let (sender_name, payload): (Span, Span) = (message.var(b"alice"), message.var(&payload));
        message.finish(
            0,
            &Message {
                conversation,
                seq,
                ts,
                sender: send.peer,
                peer: send.peer,
                sender_device: tidings_wire::DeviceId(1),
                flags: send.flags,
                client_msg_id,
                expires_at: send.expires_at,
                trace: send.trace,
                payload_crc: send.payload_crc,
                sender_name,
                payload,
                control: send.control,
                target: send.target,
                ordinal: id,
                body: Span::default(),
                clear_crc: Message::crc_of_clear(b"alice", &[]),
            },
        );
    }
    out
}

library_benchmark_group!(name = message, benchmarks = [decode, receive, deliver, append, encode]);
main!(library_benchmark_groups = message);
